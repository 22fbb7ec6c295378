package schemas

import "embed"

// Contract has the contracts for machines: asyncapi.yaml, and under jsonschema/
// the JSON Schemas (draft 2020-12): one for each event type in structured mode,
// named after it, event.json for what they share, registry.json for the
// registry document, and registry.command.json for its commands.
//
//go:embed asyncapi.yaml jsonschema/*.json
var Contract embed.FS
