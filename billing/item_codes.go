package billing

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"apportion/billing/registry"
)

// ItemCodes are the codes that finance's system has for what lines charge, by kind and meter (overage.agent_standard)
// or by kind alone. They are configured, and recorded with each issue as [Seller] is.
type ItemCodes map[string]string

// Of returns the code of a line: that of its kind and meter, else that of its kind, else none.
func (c ItemCodes) Of(l Line) string {
	return cmp.Or(c[string(l.Kind)+"."+l.Meter], c[string(l.Kind)])
}

// itemCodeRE keeps codes from being formulas to a spreadsheet, and several of them apart by commas.
var itemCodeRE = regexp.MustCompile(`^[\pL\pN]([^,]{0,98}[^, ])?$`)

// CheckItemCode returns why a code cannot be, or what it is of.
func CheckItemCode(of, code string) error {
	kind, meter, hasMeter := strings.Cut(of, ".")
	switch {
	case !Kind(kind).known():
		return fmt.Errorf("%q is no kind of lines; begin with commitment, usage, connect, overage or adjustment", of)
	case hasMeter && !registry.IsMeter(meter):
		return fmt.Errorf("%q is no meter of lines; name one after the kind, such as %s.agent_standard, or none", of, kind)
	case !itemCodeRE.MatchString(code) || strings.ContainsFunc(code, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the code %q of %s is none; begin with a letter or a digit, "+
			"and write at most 100 printable characters without commas", code, of)
	}
	return nil
}
