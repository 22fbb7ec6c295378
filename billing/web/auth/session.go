package auth

// KeyBytes is how long a session key is.
const KeyBytes = 32
