package auth

// CallbackPath is where the issuer sends people back to who have signed in with it.
const CallbackPath = "/oidc/callback"
