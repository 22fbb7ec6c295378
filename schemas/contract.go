package schemas

import "embed"

// Contract has the event contract for machines: asyncapi.yaml, and the JSON
// Schemas (draft 2020-12) of the structured mode under jsonschema/, one for
// each event type, named after it, and event.json for what they share.
//
//go:embed asyncapi.yaml jsonschema/*.json
var Contract embed.FS
