package registry

import (
	"slices"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
)

func TestR3_ActiveFromTermUntilItsEndOrCancellation(t *testing.T) {
	s := sub("Sub1", "2026-01-01/2026-03-01", "2026-05-01/2026-07-01")
	cancelled := s
	cancelled.Cancelled = day("2026-05-10")
	for _, c := range []struct {
		date               string
		active, afterwards bool // without and with the cancellation
	}{
		{"2025-12-31", false, false},
		{"2026-01-01", true, true},
		{"2026-02-28", true, true},
		{"2026-03-01", false, false},
		{"2026-05-01", true, true},
		{"2026-05-09", true, true},
		{"2026-05-10", true, false},
		{"2026-06-30", true, false},
		{"2026-07-01", false, false},
	} {
		if got := s.ActiveOn(day(c.date)); got != c.active {
			t.Errorf("%s: active %v, want %v", c.date, got, c.active)
		}
		if got := cancelled.ActiveOn(day(c.date)); got != c.afterwards {
			t.Errorf("%s, cancelled: active %v, want %v", c.date, got, c.afterwards)
		}
	}
}

func TestR3_CancelledInAGapEndsTheLaterTerms(t *testing.T) {
	s := sub("Sub1", "2026-01-01/2026-03-01", "2026-05-01/2026-07-01")
	s.Cancelled = day("2026-04-01")
	if !s.ActiveOn(day("2026-02-28")) || s.ActiveOn(day("2026-05-01")) {
		t.Error("want active in the first term alone")
	}
}

func TestR4_PrimaryIsTheOldestActive(t *testing.T) {
	renewed := sub("Sub2", "2023-01-01/2024-01-01", "2025-01-01/2026-01-01")
	cancelled := sub("Sub0", "2022-01-01/2030-01-01")
	cancelled.Cancelled = day("2023-06-01")
	tenant := &Tenant{Subscriptions: []Subscription{
		sub("Sub9", "2023-06-01/2026-06-01"), renewed, cancelled, sub("Sub10", "2023-06-01/2025-06-01"),
	}}
	for _, c := range []struct{ date, primary, why string }{
		{"2021-12-31", "", "none is active yet"},
		{"2022-01-01", "Sub0", "the only one"},
		{"2023-05-31", "Sub0", "older than Sub2"},
		{"2023-06-01", "Sub2", "Sub0 is cancelled"},
		{"2024-01-01", "Sub10", "Sub2 has no term now; of the tied, the smaller id in byte order"},
		{"2025-01-01", "Sub2", "renewed, it is as old as its first term"},
		{"2026-01-01", "Sub9", "the others have ended"},
		{"2026-06-01", "", "none is active any more"},
	} {
		if got := idOf(tenant.PrimaryOn(day(c.date))); got != c.primary {
			t.Errorf("%s: primary %q, want %q: %s", c.date, got, c.primary, c.why)
		}
	}
	var order []string
	for _, s := range tenant.ActiveOn(day("2025-01-01")) {
		order = append(order, s.ID)
	}
	if want := []string{"Sub2", "Sub10", "Sub9"}; !slices.Equal(order, want) {
		t.Errorf("active by age: %v, want %v", order, want)
	}
}

func TestR4_TheFirstTermIsTheEarliestNotTheFirstWritten(t *testing.T) {
	tenant := &Tenant{Subscriptions: []Subscription{
		sub("Sub1", "2024-06-01/2027-01-01"),
		sub("Sub2", "2025-01-01/2027-01-01", "2024-01-01/2024-02-01"),
	}}
	if got := idOf(tenant.PrimaryOn(day("2026-01-01"))); got != "Sub2" {
		t.Errorf("primary %s, want Sub2", got)
	}
}

func TestR7_WorkedExample(t *testing.T) {
	tenant := &Tenant{
		Subscriptions: []Subscription{sub("Sub1", "2025-01-01/2026-01-01"), sub("Sub2", "2025-06-01/2027-01-01")},
		Licences:      licences(t, "Admin1 standard Sub1 2025-01-01", "Agent1 standard Sub1 2025-01-01"),
	}
	expired := day("2026-01-01")
	losses := tenant.LosingAccess(expired)
	if len(losses) != 2 || losses[0].User != "Admin1" || losses[1].User != "Agent1" || !slices.Equal(losses[0].Subscriptions, []string{"Sub1"}) {
		t.Errorf("losing access: %v, want Admin1 and Agent1, through Sub1", losses)
	}
	for _, user := range []string{"Admin1", "Agent1"} {
		if !tenant.HasAccess(user, expired.Add(-1)) || tenant.HasAccess(user, expired) {
			t.Errorf("%s: want access until Sub1 expires, although the tenant stays active", user)
		}
	}
	if tenant.PrimaryOn(expired) == nil {
		t.Error("want the tenant active")
	}
	tenant.Licences = append(tenant.Licences, licences(t, "Admin1 standard Sub2 2026-01-01", "Agent1 standard Sub2 2026-01-02")...)
	if !tenant.HasAccess("Admin1", expired) || tenant.HasAccess("Agent1", expired) || !tenant.HasAccess("Agent1", expired.Add(1)) {
		t.Error("want access from the mapping to Sub2 on")
	}
	if losses := tenant.LosingAccess(expired); len(losses) != 1 || losses[0].User != "Agent1" {
		t.Errorf("losing access: %v, want Agent1 alone", losses)
	}
}

func TestR9_PremiumByAnyMappingToAnActiveSubscription(t *testing.T) {
	tenant := &Tenant{
		Subscriptions: []Subscription{sub("Sub1", "2026-01-01/2026-06-01"), sub("Sub2", "2026-03-01/2026-09-01")},
		Licences: licences(t,
			"both standard Sub1 2026-01-01", "both premium Sub1 2026-02-01/2026-03-01",
			"later premium Sub2 2026-01-01", "later standard Sub1 2026-01-01"),
	}
	tenant.Licences[2].Role = "admin" // plays no part
	for _, c := range []struct {
		agent, date string
		premium     bool
	}{
		{"both", "2026-01-31", false},
		{"both", "2026-02-01", true}, // overlapping mappings to one subscription, of different classes
		{"both", "2026-03-01", false},
		{"later", "2026-02-28", false}, // mapped, but Sub2 is not active yet
		{"later", "2026-03-01", true},
		{"later", "2026-09-01", false},
		{"nobody", "2026-03-01", false},
	} {
		if got := tenant.PremiumOn(c.agent, day(c.date)); got != c.premium {
			t.Errorf("%s on %s: premium %v, want %v", c.agent, c.date, got, c.premium)
		}
	}
}

func TestR10_TheOldestMappedAndActive(t *testing.T) {
	tenant := &Tenant{
		Subscriptions: []Subscription{sub("Old", "2026-01-01/2026-04-01"), sub("Young", "2026-02-01/2026-12-01")},
		Licences:      licences(t, "a standard Young 2026-01-01", "a standard Old 2026-03-01/2026-05-01"),
		EntryPoints: []EntryPoint{
			{"ep", "Young", day("2026-01-01"), civil.NoDate}, {"ep", "Old", day("2026-03-01"), day("2026-03-15")},
		},
	}
	for _, c := range []struct{ date, agent, entryPoint string }{
		{"2026-01-31", "", ""}, // mapped, not active
		{"2026-02-01", "Young", "Young"},
		{"2026-03-01", "Old", "Old"},
		{"2026-03-15", "Old", "Young"},
		{"2026-04-01", "Young", "Young"}, // Old has ended, its mapping has not
		{"2026-12-01", "", ""},
	} {
		if got := idOf(tenant.MappedSubscription("a", day(c.date))); got != c.agent {
			t.Errorf("agent on %s: %q, want %q", c.date, got, c.agent)
		}
		if got := idOf(tenant.EntryPointSubscription("ep", day(c.date))); got != c.entryPoint {
			t.Errorf("entry point on %s: %q, want %q", c.date, got, c.entryPoint)
		}
	}
}

func TestR14_EntitlementSumsTheVersionsInForceOfTheActive(t *testing.T) {
	a, b := sub("A", "2026-01-01/2026-03-01"), sub("B", "2026-02-01/2026-04-01")
	a.Versions = []Version{
		{From: day("2026-02-10"), Commitments: map[string]int64{schemas.AgentStandard: 7}},
		{From: day("2025-01-01"), Commitments: map[string]int64{schemas.AgentStandard: 10, schemas.AgentPremium: 1, schemas.IVRPort: 4}},
	}
	b.Versions[0].Commitments = map[string]int64{schemas.AgentStandard: 15, "addon.wfo": 99}
	tenant := &Tenant{Subscriptions: []Subscription{a, b}}
	for _, c := range []struct {
		date                   string
		standard, premium, ivr int64
	}{
		{"2025-12-31", 0, 0, 0},
		{"2026-01-31", 10, 1, 2*11 + 4},
		{"2026-02-01", 25, 1, 2*26 + 4},
		{"2026-02-10", 22, 0, 2 * 22},
		{"2026-03-01", 15, 0, 2 * 15},
		{"2026-04-01", 0, 0, 0},
	} {
		for meter, want := range map[string]int64{schemas.AgentStandard: c.standard, schemas.AgentPremium: c.premium, schemas.IVRPort: c.ivr} {
			if got := tenant.Entitlement(day(c.date), meter, 2); got != want {
				t.Errorf("%s %s: %d, want %d", c.date, meter, got, want)
			}
		}
	}
	if got := tenant.Entitlement(day("2026-01-31"), schemas.IVRPort, 3); got != 3*11+4 {
		t.Errorf("with a factor of 3: %d, want 37", got)
	}
}

func TestR18_ActiveDates(t *testing.T) {
	s := sub("Sub1", "2026-05-20/2026-06-10", "2026-05-01/2026-05-05")
	s.Cancelled = day("2026-05-25")
	days, first, after := s.ActiveDates(day("2026-05-03"), day("2026-06-01"))
	if days != 7 || first != day("2026-05-03") || after != day("2026-05-25") {
		t.Errorf("%d days from %s to %s, want 7 from 2026-05-03 to 2026-05-25", days, first, after)
	}
	if days, first, after := s.ActiveDates(day("2026-05-05"), day("2026-05-20")); days != 0 || first != civil.NoDate || after != civil.NoDate {
		t.Errorf("in the gap: %d days from %s to %s, want none", days, first, after)
	}
}

func TestR18_ASkippedDateIsNoInstantOfAPeriod(t *testing.T) {
	apia, err := civil.LoadZone("Pacific/Apia")
	if err != nil {
		t.Fatal(err)
	}
	december := day("2011-12-01").Month()
	for term, want := range map[string]bool{"2011-12-30/2011-12-31": false, "2011-12-29/2011-12-30": true, "2011-12-30/2012-01-01": true, "2012-01-01/2013-01-01": false} {
		s := sub("Sub1", term)
		if got := s.ActiveIn(december, apia); got != want {
			t.Errorf("%s: active in the period %v, want %v", term, got, want)
		}
	}
}

func TestR19_WarningsOfMissingPrices(t *testing.T) {
	tenant := &parse(t, acme).Tenants[0]
	// Sub2 becomes the primary when Sub1 ends, and lists no overage; being prepaid, it needs no commitment price.
	var got []string
	for _, w := range Warnings(tenant) {
		got = append(got, string(w.Code)+" "+w.Field)
	}
	const path = "missing_price tenants[acme].subscriptions[Sub2].versions[2025-01-01].prices.overage."
	if want := []string{path + schemas.AgentPremium, path + schemas.AgentStandard, path + schemas.IVRPort}; !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}

	s := sub("Sub1", "2026-01-01/2027-01-01")
	s.Versions = []Version{
		{From: day("2026-01-01"), Commitments: map[string]int64{schemas.AgentStandard: 1, schemas.IVRPort: 0, "addon.wfo": 3}},
		{From: day("2027-01-01"), Commitments: map[string]int64{schemas.AgentStandard: 1}}, // effective when all is over
	}
	got = nil
	for _, w := range Warnings(&Tenant{ID: "t", Subscriptions: []Subscription{sub("Old", "2025-01-01/2028-01-01"), s}}) {
		got = append(got, w.Field)
	}
	const sub1 = "tenants[t].subscriptions[Sub1].versions[2026-01-01].prices.commitment."
	if want := []string{sub1 + "addon.wfo", sub1 + schemas.AgentStandard}; !slices.Equal(got[3:], want) {
		t.Errorf("warnings %q, want three of Old's overage, then %q", got, want)
	}
}

// TestWarningsOfIDsThatSpreadsheetsChange: every id that a spreadsheet shows and saves otherwise, and no other.
func TestWarningsOfIDsThatSpreadsheetsChange(t *testing.T) {
	for id, want := range map[string]bool{
		"00042": true, "1E5": true, "1e-5": true, "0012345": true, "12345678901234567890": true, "123456789012": true, "1.10": true, "1.": true, "00": true,
		"2026-10-14": true, "10.2026": true, "1-2": true, "MAR1": true, "sept-2026": true, "3may": true, "TRUE": true,
		"0": false, "42": false, "12345678901": false, "acme": false, "Sub100001": false, "1a": false, "a1E5": false, "1E5x": false, "mary1": true, "march": false,
		"10.20.30.40": false, "2026-10-14-1": false,
	} {
		got := Warnings(&Tenant{ID: id})
		if (len(got) > 0) != want || want && (got[0].Code != "looks_like_number" || got[0].Field != "tenants["+id+"].id") {
			t.Errorf("%s: %v", id, got)
		}
	}
	s := sub("0012345", "2026-01-01/2027-01-01")
	s.Billing = Prepaid
	s.Versions[0].Prices.Overage = map[string]decimal.Decimal{schemas.AgentStandard: {}, schemas.AgentPremium: {}, schemas.IVRPort: {}}
	if got := Warnings(&Tenant{ID: "t", Subscriptions: []Subscription{s}}); len(got) != 1 || got[0].Field != "tenants[t].subscriptions[0012345].id" {
		t.Errorf("a subscription: %v", got)
	}
}

// A tax without a date that takes the place of another is warned of, and a history is not (R26).
func TestWarningsOfUndatedTax(t *testing.T) {
	with := func(taxes ...Tax) *Tenant { return &Tenant{ID: "t", BillTo: &BillTo{Tax: taxes}} }
	standard := func(rate int64, from civil.Date) Tax {
		return Tax{From: from, Category: "S", Rate: decimal.NewFromInt(rate)}
	}
	old := with(standard(24, civil.NoDate))
	for name, c := range map[string]struct {
		before, after *Tenant
		warned        bool
	}{
		"another rate":     {old, with(standard(25, civil.NoDate)), true},
		"another category": {old, with(Tax{From: civil.NoDate, Category: "O"}), true},
		"the same":         {old, with(standard(24, civil.NoDate)), false},
		"a history":        {old, with(standard(24, civil.NoDate), standard(25, 20000)), false},
		"its first entry":  {with(standard(24, civil.NoDate), standard(25, 20000)), with(standard(25, civil.NoDate)), true},
		"the first tax":    {&Tenant{ID: "t"}, old, false},
		"no tax any more":  {old, &Tenant{ID: "t"}, false},
		"a new tenant":     {nil, old, false},
	} {
		got := ChangeWarnings(c.before, c.after)
		if (len(got) > 0) != c.warned || c.warned && (got[0].Code != "undated_tax" || got[0].Field != "tenants[t].billTo.tax") {
			t.Errorf("%s: %v", name, got)
		}
	}
}
