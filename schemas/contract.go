package schemas

import "embed"

// Contract has the contracts for machines: asyncapi.yaml and, for who publishes,
// asyncapi.producer.yaml; and under jsonschema/
// the JSON Schemas (draft 2020-12): two for each event type in structured mode,
// named after it, of what is accepted and, with .producer, of what to send;
// registry.json for the registry document, and registry.command.json for its
// commands. Each file stands alone.
//
//go:embed asyncapi.yaml asyncapi.producer.yaml jsonschema/*.json
var Contract embed.FS
