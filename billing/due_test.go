package billing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// subscribed is a tenant with one subscription a term, given as from/to or from/to/cancelled.
func subscribed(t testing.TB, id, zone string, terms ...string) *registry.Tenant {
	t.Helper()
	date := func(text string) civil.Date {
		d, err := civil.ParseDate(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	tenant := &registry.Tenant{ID: id, TimeZone: zone}
	for i, term := range terms {
		parts := strings.Split(term, "/")
		s := registry.Subscription{ID: fmt.Sprint(id, i), Terms: []registry.Term{{From: date(parts[0]), To: date(parts[1])}},
			Cancelled: civil.NoDate}
		if len(parts) > 2 {
			s.Cancelled = date(parts[2])
		}
		tenant.Subscriptions = append(tenant.Subscriptions, s)
	}
	return tenant
}

func month(t testing.TB, text string) civil.Month {
	t.Helper()
	m, err := civil.ParseMonth(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDuePeriods: by each tenant's zone and grace, from the first period that anybody wants and that the tenant has.
func TestDuePeriods(t *testing.T) {
	for _, c := range []struct {
		name, zone, term, from, now, want string
	}{
		{"a millisecond before the grace ends", "Asia/Tokyo", "2026-10-01/2027-01-01", "2026-10", "2026-11-03T14:59:59.999Z",
			""},
		{"as it ends", "Asia/Tokyo", "2026-10-01/2027-01-01", "2026-10", graceEndsInTokyo, "2026-10"},
		{"elsewhere it has not", "America/New_York", "2026-10-01/2027-01-01", "2026-10", graceEndsInTokyo, ""},
		{"missed runs are caught up, the oldest first", "UTC", "2026-01-01/2027-01-01", "2026-08", "2026-11-10T00:00:00Z",
			"2026-08 2026-09 2026-10"},
		{"nothing before the first wanted, whatever the terms", "UTC", "1999-01-01/2027-01-01", "2026-10",
			"2026-11-10T00:00:00Z", "2026-10"},
		{"nothing before the tenant's first", "UTC", "2026-09-30/2027-01-01", "2024-01", "2026-11-10T00:00:00Z",
			"2026-09 2026-10"},
		{"a period of which it has one day", "UTC", "2026-10-31/2027-01-01", "2024-01", "2026-11-10T00:00:00Z", "2026-10"},
		{"after the last one too: adjustments need a period (R21)", "UTC", "2026-08-01/2026-09-01", "2026-08",
			"2026-11-10T00:00:00Z", "2026-08 2026-09 2026-10"},
		{"cancelled before it began", "UTC", "2026-08-01/2027-01-01/2026-08-01", "2026-08", "2026-11-10T00:00:00Z", ""},
		{"not begun", "UTC", "2027-01-01/2028-01-01", "2026-08", "2026-11-10T00:00:00Z", ""},
		{"a first date that the zone skips has no instant", "Pacific/Apia", "2011-12-30/2011-12-31", "2011-12",
			"2012-02-10T00:00:00Z", ""},
		{"the date after it has", "Pacific/Apia", "2011-12-30/2012-01-01", "2011-12", "2012-02-10T00:00:00Z",
			"2011-12 2012-01"},
		{"the clock before the first period", "UTC", "2026-01-01/2027-01-01", "2026-08", "1970-01-01T00:00:00Z", ""},
		// The grace ends at a midnight that the zone skips, at the end of the gap, or repeats, at the first.
		{"before a skipped midnight", "America/Havana", "2026-02-01/2027-01-01", "2026-02", "2026-03-08T04:59:59.999Z", ""},
		{"at the end of the gap", "America/Havana", "2026-02-01/2027-01-01", "2026-02", "2026-03-08T05:00:00.000Z",
			"2026-02"},
		{"before a repeated midnight", "America/Havana", "2026-10-01/2027-01-01", "2026-10", "2026-11-01T03:59:59.999Z", ""},
		{"at the first of the two", "America/Havana", "2026-10-01/2027-01-01", "2026-10", "2026-11-01T04:00:00.000Z",
			"2026-10"},
	} {
		rules := billing.DefaultRules()
		switch {
		case strings.Contains(c.name, "skipped midnight"), strings.Contains(c.name, "gap"):
			rules.GraceDays = 7
		case strings.Contains(c.name, "repeated"), strings.Contains(c.name, "first of the two"):
			rules.GraceDays = 0
		}
		due, err := billing.DuePeriods([]*registry.Tenant{subscribed(t, "acme", c.zone, c.term)}, nil, month(t, c.from),
			at(t, c.now), rules)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range due {
			got = append(got, d.Period.String())
			if !slices.Equal(d.Tenants, []string{"acme"}) {
				t.Errorf("%s: %v", c.name, d)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, strings.Join(got, " "), c.want)
		}
	}
}

// TestDuePeriodsGroupsTenants: one period after the other, each with those for whom it is due and not issued.
func TestDuePeriodsGroupsTenants(t *testing.T) {
	tenants := []*registry.Tenant{
		subscribed(t, "acme", "Asia/Tokyo", "2026-09-01/2027-01-01"),
		subscribed(t, "beta", "America/New_York", "2026-09-01/2027-01-01"),
		subscribed(t, "none", "UTC"),
	}
	issued := map[billing.TenantPeriod]bool{{Tenant: "acme", Period: october - 1}: true}
	for now, want := range map[string]string{
		graceEndsInTokyo:   "[{2026-09 [beta]} {2026-10 [acme]}]",
		graceEndsInNewYork: "[{2026-09 [beta]} {2026-10 [acme beta]}]",
	} {
		due, err := billing.DuePeriods(tenants, issued, october-1, at(t, now), billing.DefaultRules())
		if got := fmt.Sprint(due); err != nil || got != want {
			t.Errorf("at %s: %s, %v; want %s", now, got, err, want)
		}
	}
}

// TestDuePeriodsOfWhatIsWithdrawn: whoever was charged and then turns out never to have had a subscription, or only
// later, gets the credit with the next period (R21).
func TestDuePeriodsOfWhatIsWithdrawn(t *testing.T) {
	issued := map[billing.TenantPeriod]bool{{Tenant: "acme", Period: october - 2}: true,
		{Tenant: "acme", Period: october - 1}: true}
	for name, term := range map[string]string{
		"cancelled from its first day": "2026-08-01/2027-08-01/2026-08-01",
		"begun only later":             "2027-03-01/2028-03-01",
	} {
		for _, first := range []civil.Month{october - 2, october} {
			due, err := billing.DuePeriods([]*registry.Tenant{subscribed(t, "acme", "UTC", term)}, issued, first,
				at(t, "2026-11-10T00:00:00Z"), billing.DefaultRules())
			if got := fmt.Sprint(due); err != nil || got != "[{2026-10 [acme]}]" {
				t.Errorf("%s, from %s: %s, %v", name, first, got, err)
			}
		}
	}
}

// TestDuePeriodsAgreesWithThePlainDefinition asks of every tenant and period by itself, at instants near the ends
// of graces in zones whose midnights are skipped and doubled, and holds that time only ever adds: what has been
// due is due later, until it is issued.
func TestDuePeriodsAgreesWithThePlainDefinition(t *testing.T) {
	zones := []string{"UTC", "Europe/Stockholm", "America/Havana", "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns",
		"Pacific/Kiritimati", "Asia/Kathmandu"}
	rapid.Check(t, func(r *rapid.T) {
		base := rapid.SampledFrom([]civil.Month{civil.NewMonth(2026, 10), civil.NewMonth(2011, 12),
			civil.NewMonth(2018, 10)}).Draw(r, "base")
		rules := billing.DefaultRules()
		rules.GraceDays = rapid.IntRange(0, 40).Draw(r, "grace")
		tenants := drawTenants(r, zones, base)
		first := base + civil.Month(rapid.IntRange(-3, 3).Draw(r, "first"))
		issued := map[billing.TenantPeriod]bool{}
		for _, tenant := range tenants {
			for m := base - 3; m < base+5; m++ {
				if rapid.IntRange(0, 3).Draw(r, "issued") == 0 {
					issued[billing.TenantPeriod{Tenant: tenant.ID, Period: m}] = true
				}
			}
		}
		zone, err := civil.LoadZone(rapid.SampledFrom(zones).Draw(r, "whose midnight"))
		if err != nil {
			r.Fatal(err)
		}
		now := zone.Start(base.First().Add(rapid.IntRange(-60, 120).Draw(r, "date"))) +
			rapid.SampledFrom([]int64{-1, 0, 1, 3_599_999, 3_600_000}).Draw(r, "ms")
		set := func(now int64) map[billing.TenantPeriod]bool {
			due, err := billing.DuePeriods(tenants, issued, first, now, rules)
			if err != nil {
				r.Fatal(err)
			}
			return setOf(r, due)
		}
		due, later := set(now), set(now+rapid.Int64Range(0, 90*86_400_000).Draw(r, "later"))
		wanted := 0
		for _, tenant := range tenants {
			zone, err := civil.LoadZone(tenant.TimeZone)
			if err != nil {
				r.Fatal(err)
			}
			active := false
			for m := base - 6; m < base+12; m++ {
				for i := range tenant.Subscriptions {
					active = active || tenant.Subscriptions[i].ActiveIn(m, zone)
				}
				k := billing.TenantPeriod{Tenant: tenant.ID, Period: m}
				active = active || issued[k]
				want := active && m >= first && !issued[k] && now >= zone.Start(m.Next().First().Add(rules.GraceDays))
				if due[k] != want {
					r.Fatalf("%v at %s: due %t, want %t", k, civil.FormatMillis(now), due[k], want)
				}
				if want {
					wanted++
				}
			}
		}
		if wanted != len(due) {
			r.Fatalf("%d are due, want %d", len(due), wanted)
		}
		for k := range due {
			if !later[k] {
				r.Fatalf("%v is due, and no longer later", k)
			}
		}
	})
}

// drawTenants draws tenants whose subscriptions are active around a month.
func drawTenants(r *rapid.T, zones []string, base civil.Month) (tenants []*registry.Tenant) {
	for i := range rapid.IntRange(0, 3).Draw(r, "tenants") {
		tenant := &registry.Tenant{ID: fmt.Sprint("t", i), TimeZone: rapid.SampledFrom(zones).Draw(r, "zone")}
		for j := range rapid.IntRange(0, 2).Draw(r, "subscriptions") {
			from := base.First().Add(rapid.IntRange(-70, 70).Draw(r, "from"))
			s := registry.Subscription{ID: fmt.Sprint(tenant.ID, j), Cancelled: civil.NoDate,
				Terms: []registry.Term{{From: from, To: from.Add(rapid.IntRange(1, 60).Draw(r, "days"))}}}
			if rapid.Bool().Draw(r, "cancelled") {
				s.Cancelled = from.Add(rapid.IntRange(-1, 60).Draw(r, "until"))
			}
			tenant.Subscriptions = append(tenant.Subscriptions, s)
		}
		tenants = append(tenants, tenant)
	}
	return tenants
}

// setOf returns what is due, which must be in order and due once.
func setOf(r *rapid.T, due []billing.DuePeriod) map[billing.TenantPeriod]bool {
	found := map[billing.TenantPeriod]bool{}
	for i, d := range due {
		if i > 0 && due[i-1].Period >= d.Period || len(d.Tenants) == 0 || !slices.IsSorted(d.Tenants) {
			r.Fatalf("out of order: %v", due)
		}
		for _, tenant := range d.Tenants {
			k := billing.TenantPeriod{Tenant: tenant, Period: d.Period}
			if found[k] {
				r.Fatalf("%v is due twice", k)
			}
			found[k] = true
		}
	}
	return found
}

// TestFiringsAtAnyTime: however a clock jumps between firings, forth and back, and however many are missed, in the
// end each period is issued once, and they are those that one firing at the latest instant would have issued.
func TestFiringsAtAnyTime(t *testing.T) {
	tenants := []*registry.Tenant{
		subscribed(t, "acme", "Pacific/Kiritimati", "2026-08-15/2027-01-01"),
		subscribed(t, "beta", "America/Havana", "2025-01-01/2026-10-01", "2026-12-01/2027-06-01"),
		subscribed(t, "gamma", "Pacific/Apia", "2026-11-30/2026-12-01"),
	}
	from, start := october-3, at(t, "2026-07-01T00:00:00Z")
	rapid.Check(t, func(r *rapid.T) {
		firings := rapid.SliceOfN(rapid.Int64Range(0, 400*86_400_000), 1, 20).Draw(r, "firings")
		issued := map[billing.TenantPeriod]bool{}
		for _, after := range firings {
			due, err := billing.DuePeriods(tenants, issued, from, start+after, billing.DefaultRules())
			if err != nil {
				r.Fatal(err)
			}
			for _, d := range due {
				for _, tenant := range d.Tenants {
					k := billing.TenantPeriod{Tenant: tenant, Period: d.Period}
					if issued[k] {
						r.Fatalf("%v is issued twice", k)
					}
					issued[k] = true
				}
			}
		}
		once, err := billing.DuePeriods(tenants, nil, from, start+slices.Max(firings), billing.DefaultRules())
		if err != nil {
			r.Fatal(err)
		}
		n := 0
		for _, d := range once {
			for _, tenant := range d.Tenants {
				if n++; !issued[billing.TenantPeriod{Tenant: tenant, Period: d.Period}] {
					r.Fatalf("%s %s is left out", tenant, d.Period)
				}
			}
		}
		if n != len(issued) {
			r.Fatalf("%d are issued, want %d", len(issued), n)
		}
	})
}

// TestClockSuspect: more than two periods due after the last that anybody was issued are a clock that is ahead, or a
// long absence, and before anything was issued those after the registry's last change; of a tenant that is stopped
// beside others they are neither.
func TestClockSuspect(t *testing.T) {
	for _, c := range []struct {
		name, issued, due string
		suspect           bool
	}{
		{"nothing issued yet", "", "a/2026-01 a/2026-02 a/2026-03", false},
		{"nothing issued yet, two after the last change", "", "a/2026-05 a/2026-06 a/2026-07 a/2026-08", false},
		{"nothing issued yet, three after the last change", "", "a/2026-06 a/2026-07 a/2026-08 a/2026-09", true},
		{"issued after the last change", "a/2026-08", "a/2026-09 a/2026-10", false},
		{"issued after the last change, and three", "a/2026-08", "a/2026-09 a/2026-10 a/2026-11", true},
		{"two", "a/2026-01", "a/2026-02 a/2026-03", false},
		{"three", "a/2026-01", "a/2026-02 a/2026-03 a/2026-04", true},
		{"three of one that is new", "a/2026-01", "b/2026-02 b/2026-03 b/2026-04", false},
		{"three of one that is stopped", "a/2026-01 b/2026-04", "a/2026-02 a/2026-03 a/2026-04 a/2026-05", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			issued := map[billing.TenantPeriod]bool{}
			for _, i := range strings.Fields(c.issued) {
				tenant, period, _ := strings.Cut(i, "/")
				issued[billing.TenantPeriod{Tenant: tenant, Period: month(t, period)}] = true
			}
			var due []billing.DuePeriod
			for _, d := range strings.Fields(c.due) {
				tenant, period, _ := strings.Cut(d, "/")
				due = append(due, billing.DuePeriod{Period: month(t, period), Tenants: []string{tenant}})
			}
			if err := billing.ClockSuspect(due, issued, month(t, "2026-06")); (err != nil) != c.suspect || err != nil &&
				!strings.HasPrefix(err.Error(), "clock_suspect: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}
