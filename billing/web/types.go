package web

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// The string forms of values.
type (
	decimalText string
	dateText    string
	monthText   string
)

// Schema describes an amount or a quantity.
func (decimalText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^-?[0-9]+(\.[0-9]+)?$`, Description: "A decimal number, exact.",
		Examples: []any{"1100.00"}}
}

// Schema describes a date.
func (dateText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`,
		Description: "A date, in the zone of the tenant.", Examples: []any{"2026-10-31"}}
}

// Schema describes a month.
func (monthText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9]{4}-[0-9]{2}$`,
		Description: "A month, in the zone of the tenant.", Examples: []any{"2026-10"}}
}

// aliases are types of the domain, which knows nothing of schemas, and how they are described.
var aliases = []struct{ of, as reflect.Type }{
	{reflect.TypeFor[decimal.Decimal](), reflect.TypeFor[decimalText]()},
	{reflect.TypeFor[civil.Date](), reflect.TypeFor[dateText]()},
	{reflect.TypeFor[civil.Month](), reflect.TypeFor[monthText]()},
}
