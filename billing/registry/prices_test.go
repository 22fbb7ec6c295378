package registry

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// What somebody has changed of prices is known by period: from the date of a version on, as long as it is used; and
// neither other changes count, nor a price that is written otherwise, nor what was refused, nor what others did.
func TestPriceChanges(t *testing.T) {
	var h History
	offset := int64(0)
	put := func(by, name string, versions ...Version) {
		t.Helper()
		s := sub("Sub1", "2024-01-01/2027-01-01")
		s.Versions = versions
		tenant := Tenant{ID: "acme", Name: name, TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{s}}
		base := h.Now().Base("acme")
		if strings.HasPrefix(by, "stale ") {
			base, by = NoBase, strings.TrimPrefix(by, "stale ")
		}
		d := h.Take(Record{offset, offset, asJSON(t, Command{ID: string(rune('a' + offset)), Source: "s", TenantID: "acme", By: Actor{"user", by},
			Command: PutTenant, Base: base, Tenant: &tenant})})
		if accepted := d[0].Verdict.Accepted; accepted != (base == h.Now().Base("acme") || h.Now().Base("acme") == offset) {
			t.Fatalf("command %d: %+v", offset, d[0].Verdict)
		}
		offset++
	}
	version := func(from, price string) Version {
		date, err := civil.ParseDate(from)
		if err != nil {
			t.Fatal(err)
		}
		return Version{From: date, Commitments: map[string]int64{"agent_standard": 5},
			Prices: Prices{Commitment: map[string]decimal.Decimal{"agent_standard": decimal.RequireFromString(price)}}}
	}
	first := version("2024-01-01", "10")
	put("ann", "A", first)
	put("bob", "B", first)                                                   // a name
	put("bob", "B", version("2024-01-01", "10.00"))                          // the same price
	put("eva", "B", first, version("2026-10-15", "12"))                      // from the middle of October 2026 on
	put("stale dan", "B", version("2024-01-01", "99"))                       // refused
	put("dan", "B", first, version("2026-10-15", "12.0"))                    // the same
	put("fay", "B", first, version("2026-11-01", "12"))                      // October as it was
	put("gus", "B", version("2024-01-01", "9"), version("2026-11-01", "12")) // until November

	periods := map[string]civil.Month{}
	for _, text := range []string{"2023-12", "2024-01", "2026-09", "2026-10", "2026-11", "2026-12"} {
		month, err := civil.ParseMonth(text)
		if err != nil {
			t.Fatal(err)
		}
		periods[text] = month
	}
	for who, want := range map[string]string{
		"ann": "2024-01 2026-09 2026-10 2026-11 2026-12",
		"bob": "", "dan": "", "nobody": "",
		"eva": "2026-10 2026-11 2026-12",
		"fay": "2026-10",
		"gus": "2024-01 2026-09 2026-10",
	} {
		changes, read := h.PriceChanges(who, 0)
		if read != h.Len() {
			t.Errorf("%d commands were read", read)
		}
		var in []string
		for _, text := range slices.Sorted(maps.Keys(periods)) {
			if slices.ContainsFunc(changes, func(c PriceChange) bool { return c.Tenant == "acme" && c.In(periods[text]) }) {
				in = append(in, text)
			}
		}
		if got := strings.Join(in, " "); got != want {
			t.Errorf("%s has changed the prices of %q, want %q", who, got, want)
		}
		if later, _ := h.PriceChanges(who, read); len(later) > 0 {
			t.Errorf("%s has changed prices again: %v", who, later)
		}
	}
}
