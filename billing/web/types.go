package web

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/service"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// The string forms of values.
type (
	decimalText string
	dateText    string
	monthText   string
	instantText string
	blobText    string
)

// The codes that a list can be asked for.
type (
	findingCode  string // of a finding
	periodCode   string // of a finding, or of what stops a period
	deliveryCode string // that a delivery is refused for
)

// Schema lists the codes.
func (findingCode) Schema(huma.Registry) *huma.Schema { return codesSchema(schemas.IsFinding) }

// Schema lists the codes.
func (periodCode) Schema(huma.Registry) *huma.Schema {
	return codesSchema(schemas.IsFinding | schemas.StopsTenant)
}

// Schema lists the codes.
func (deliveryCode) Schema(huma.Registry) *huma.Schema { return codesSchema(schemas.RefusesDelivery) }

// codesSchema describes the codes of some kinds.
func codesSchema(kinds schemas.CodeKind) *huma.Schema {
	schema := &huma.Schema{Type: huma.TypeString}
	for _, code := range schemas.CodesOf(kinds) {
		schema.Enum = append(schema.Enum, string(code))
	}
	return schema
}

// Schema describes an amount or a quantity.
func (decimalText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^-?[0-9]+(\.[0-9]+)?$`, Description: "A decimal number, exact.",
		Examples: []any{"1100.00"}}
}

// documentJSON is a tenant of a registry document, which that is read as.
type documentJSON struct{ json.RawMessage }

// Schema describes an object.
func (documentJSON) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// Schema describes a date.
func (dateText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date",
		Description: "A date, in the zone of the tenant.", Examples: []any{"2026-10-31"}}
}

// Schema describes a month.
func (monthText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[1-9][0-9]{3}-(0[1-9]|1[0-2])$`,
		Description: "A month, in the zone of the tenant.", Examples: []any{"2026-10"}}
}

// Schema describes an instant.
func (instantText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Description: "An instant, in UTC.",
		Examples: []any{"2026-10-14T08:31:07.000Z"}}
}

// Schema describes bytes that are mostly text.
func (blobText) Schema(huma.Registry) *huma.Schema {
	base64 := &huma.Schema{Type: huma.TypeObject, Required: []string{"base64"},
		Properties: map[string]*huma.Schema{"base64": {Type: huma.TypeString, Format: "base64"}}}
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, base64},
		Description: "The bytes as a text or, where they are not UTF-8, as base64."}
}

// aliases are types of the domain, which knows nothing of schemas, and how they are described.
var aliases = []struct{ of, as reflect.Type }{
	{reflect.TypeFor[decimal.Decimal](), reflect.TypeFor[decimalText]()},
	{reflect.TypeFor[billing.Money](), reflect.TypeFor[decimalText]()},
	{reflect.TypeFor[civil.Date](), reflect.TypeFor[dateText]()},
	{reflect.TypeFor[civil.Month](), reflect.TypeFor[monthText]()},
	{reflect.TypeFor[service.Blob](), reflect.TypeFor[blobText]()},
	{reflect.TypeFor[civil.Millis](), reflect.TypeFor[instantText]()},
	{reflect.TypeFor[billing.TaxTotals](), reflect.TypeFor[billing.TaxTotalsJSON]()},
	{reflect.TypeFor[billing.Invoice](), reflect.TypeFor[billing.InvoiceJSON]()},
	{reflect.TypeFor[billing.InvoiceLine](), reflect.TypeFor[billing.InvoiceLineJSON]()},
	{reflect.TypeFor[billing.Adjustable](), reflect.TypeFor[billing.AdjustableJSON]()},
	{reflect.TypeFor[billing.Evidence](), reflect.TypeFor[[]billing.EvidenceJSON]()},
	{reflect.TypeFor[billing.ChangedEvent](), reflect.TypeFor[billing.ChangedEventJSON]()},
	{reflect.TypeFor[billing.Pair](), reflect.TypeFor[billing.PairJSON]()},
	{reflect.TypeFor[billing.AmountPair](), reflect.TypeFor[billing.PairJSON]()},
	{reflect.TypeFor[billing.Part](), reflect.TypeFor[billing.PartJSON]()},
}
