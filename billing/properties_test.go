package billing_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// world is a registry and deliveries drawn at random, close to the first and the last date of the period.
type world struct {
	document   *registry.Document
	state      registry.State
	deliveries []schemas.Event
	period     civil.Month
}

func drawWorld(t *testing.T, r *rapid.T) world {
	w := world{period: rapid.SampledFrom([]civil.Month{civil.NewMonth(2026, 10), civil.NewMonth(2026, 11)}).Draw(r,
		"period")}
	w.document = &registry.Document{Tenants: []registry.Tenant{drawTenant(r, "acme", w.period),
		drawTenant(r, "beta", w.period)}}
	if refusals := w.document.Validate(); len(refusals) > 0 {
		r.Fatal(refusals)
	}
	w.state = fold(t, w.document)
	w.deliveries = rapid.SliceOfN(rapid.Custom(func(r *rapid.T) schemas.Event { return drawDelivery(r, w.period) }), 0,
		40).Draw(r, "deliveries")
	return w
}

func drawTenant(r *rapid.T, id string, period civil.Month) registry.Tenant {
	date := func(name string) civil.Date {
		return period.First().Add(rapid.SampledFrom([]int{-30, -1, 0, 1, 2, 15, 29, 30, 31, 32}).Draw(r, name))
	}
	small := func(name string) int64 { return rapid.Int64Range(0, 3).Draw(r, name) }
	price := func(name string) decimal.Decimal {
		return decimal.New(rapid.Int64Range(0, 5_000_000).Draw(r, name), -6)
	}
	prices := registry.Prices{
		Commitment: map[string]decimal.Decimal{schemas.AgentStandard: price("seat"), schemas.AgentPremium: price("premium"),
			schemas.IVRPort: price("port")},
		Overage: map[string]decimal.Decimal{schemas.AgentStandard: price("over seat"),
			schemas.AgentPremium: price("over premium"), schemas.IVRPort: price("over port")},
		Connect: map[string]decimal.Decimal{"sms": price("sms")},
	}
	tenant := registry.Tenant{ID: id, Name: id, Telephony: "vpop",
		TimeZone: rapid.SampledFrom([]string{"UTC", "Europe/Stockholm", "America/Havana", "Asia/Tokyo"}).Draw(r, "zone")}
	model := rapid.SampledFrom([]string{registry.Concurrent, registry.Named}).Draw(r, "model")
	for i := range rapid.IntRange(1, 3).Draw(r, "subscriptions") {
		s := registry.Subscription{ID: fmt.Sprintf("%s-%d", id, i), Name: "x", LicenceModel: model, Plan: "flex",
			Deployment: "cloud",
			Currency:   rapid.SampledFrom([]string{"SEK", "JPY", "KWD"}).Draw(r, "currency"),
			Billing:    rapid.SampledFrom([]string{registry.Monthly, registry.Prepaid}).Draw(r, "billing"),
			Cancelled:  civil.NoDate}
		from := date("term")
		to := from.Add(rapid.SampledFrom([]int{1, 2, 15, 60}).Draw(r, "length"))
		s.Terms = []registry.Term{{From: from, To: to}}
		if rapid.Bool().Draw(r, "renewed") {
			gap := rapid.IntRange(0, 3).Draw(r, "gap")
			s.Terms = append(s.Terms, registry.Term{From: to.Add(gap), To: to.Add(gap + 40)})
		}
		if rapid.Bool().Draw(r, "cancels") {
			s.Cancelled = date("cancelled")
		}
		commitments := map[string]int64{schemas.AgentStandard: small("seats"), schemas.AgentPremium: small("premium"),
			schemas.IVRPort: small("ports")}
		s.Versions = []registry.Version{{From: period.First().Add(-100), Commitments: commitments, Prices: prices}}
		if rapid.Bool().Draw(r, "second version") {
			s.Versions = append(s.Versions, registry.Version{From: date("version"),
				Commitments: map[string]int64{schemas.AgentStandard: small("seats")}, Prices: prices})
		}
		tenant.Subscriptions = append(tenant.Subscriptions, s)
		if rapid.Bool().Draw(r, "licence") {
			tenant.Licences = append(tenant.Licences, registry.Licence{User: "a1", Role: "agent", Subscription: s.ID,
				From: date("mapped"), To: civil.NoDate,
				Class: rapid.SampledFrom([]string{registry.Standard, registry.Premium}).Draw(r, "class")})
		}
	}
	return tenant
}

func drawDelivery(r *rapid.T, period civil.Month) schemas.Event {
	const minute = 60_000
	e := schemas.Event{
		Tenant: rapid.SampledFrom([]string{"acme", "beta"}).Draw(r, "tenant"),
		Source: "drawn",
		ID:     fmt.Sprintf("e%d", rapid.IntRange(0, 25).Draw(r, "id")),
		Type: rapid.SampledFrom([]schemas.Type{schemas.AgentSession, schemas.IVRSession,
			schemas.ConnectUsage}).Draw(r, "type"),
		Revision: rapid.Int32Range(0, 1).Draw(r, "revision"),
		Voided:   rapid.IntRange(0, 9).Draw(r, "voided") == 0,
		Subscription: rapid.SampledFrom([]string{"", "acme-0", "acme-1", "beta-0", "beta-1", "nobody-0"}).Draw(r,
			"subscription"),
		StartMS: schemas.Absent, EndMS: schemas.Absent,
	}
	day := period.First().Add(rapid.SampledFrom([]int{-1, 0, 1, 14, 28, 29, 30, 31}).Draw(r, "day"))
	e.TimeMS = civil.UTC.Start(day) + rapid.Int64Range(0, 47).Draw(r, "half hour")*30*minute
	if e.Type == schemas.ConnectUsage {
		e.Channel, e.Quantity = "sms", rapid.Int64Range(1, 5_000_000).Draw(r, "quantity")
		return e
	}
	e.StartMS = e.TimeMS
	if rapid.IntRange(0, 4).Draw(r, "open") > 0 {
		e.EndMS = e.StartMS + rapid.SampledFrom([]int64{0, 1, 30, 60, 300, 3000}).Draw(r, "minutes")*minute
	}
	if e.Type == schemas.IVRSession {
		e.EntryPoint = "ep-1"
	} else {
		e.Agent = fmt.Sprintf("a%d", rapid.IntRange(1, 6).Draw(r, "agent"))
		e.Class = rapid.SampledFrom([]string{"", "", "", "standard", "premium"}).Draw(r, "class")
	}
	return e
}

// lines bills the world as far as the deliveries go, to the bytes of lines.csv.
func (w world) lines(t *testing.T, r *rapid.T, deliveries []schemas.Event) string {
	t.Helper()
	run := bill(t, w.state, deliveries, w.period, billing.DefaultRules(), issue)
	for _, stop := range run.stopped {
		r.Fatal(stop)
	}
	return csv(t, run.invoices)
}

func csv(t *testing.T, invoices []billing.Invoice) string {
	t.Helper()
	var b bytes.Buffer
	if err := export.LinesCSV(&b, &billing.Run{Invoices: invoices}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestLinesKnowNoOrder: deliveries in another order, and more often, give the same bytes (R23).
func TestLinesKnowNoOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		others := slices.Clone(w.deliveries)
		if len(others) > 0 {
			others = append(others, rapid.SliceOf(rapid.SampledFrom(w.deliveries)).Draw(r, "repeated")...)
		}
		others = rapid.Permutation(others).Draw(r, "shuffled")
		if want, got := w.lines(t, r, w.deliveries), w.lines(t, r, others); got != want {
			r.Fatalf("%s\nin another order and with repeats\n%s", want, got)
		}
	})
}

// TestTenantsAreApart: what one tenant uses, and whether it is there at all, changes nothing of another's lines.
func TestTenantsAreApart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		alone := world{period: w.period, state: fold(t, &registry.Document{Tenants: w.document.Tenants[:1]})}
		var own []schemas.Event
		for _, d := range w.deliveries {
			if d.Tenant == "acme" {
				own = append(own, d)
			}
		}
		var ofAcme bytes.Buffer
		run := bill(t, w.state, w.deliveries, w.period, billing.DefaultRules(), issue)
		invoices := slices.DeleteFunc(run.invoices, func(i billing.Invoice) bool { return i.Tenant != "acme" })
		if err := export.LinesCSV(&ofAcme, &billing.Run{Invoices: invoices}); err != nil {
			r.Fatal(err)
		}
		if got := alone.lines(t, r, own); got != ofAcme.String() {
			r.Fatalf("alone\n%s\nbeside another\n%s", got, &ofAcme)
		}
	})
}

// TestConservation: whatever comes, it balances (R22), and the tenant's peak of a date is between the greatest of its
// subscriptions' peaks and their sum (R13).
func TestConservation(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		snapshot, err := billing.Snapshot(w.state, billing.DefaultRules())
		if err != nil {
			r.Fatal(err)
		}
		var accepted int64
		for _, tenant := range snapshot.Tenants {
			days := aggregate.Days(tenant.ID, snapshot.Timelines.Zone(tenant.ID), w.period.First().Add(-3),
				w.period.Next().First().Add(3))
			usage := billing.ByTenant(figures(w.deliveries, aggregate.Inputs{Days: days, Timelines: snapshot.Timelines,
				Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime}))[tenant.ID]
			if differences := usage.Differences(); len(differences) > 0 {
				r.Fatal(differences)
			}
			accepted += usage.Balance.Accepted
			for _, whole := range usage.Days {
				if whole.Subscription != "" {
					continue
				}
				var most, sum int64
				for _, u := range usage.Days {
					if u.Date == whole.Date && u.Meter == whole.Meter && u.Subscription != "" {
						most, sum = max(most, u.Peak), sum+u.Peak
					}
				}
				if whole.Peak < most || whole.Peak > sum {
					r.Fatalf("%s %s: the tenant's peak is %d, its subscriptions' at most %d and together %d", whole.Date, whole.Meter,
						whole.Peak, most, sum)
				}
			}
		}
		// The days reach beyond all that is drawn, so every delivery is on one of them.
		if accepted != int64(len(w.deliveries)) {
			r.Fatalf("%d deliveries are on the days, want %d", accepted, len(w.deliveries))
		}
	})
}

// TestOverageIsTheGreatestOfAllInstants holds the overage of concurrent tenants to R15 and R16 by their words: at every
// instant at which anything changes, count, take off the entitlement, and ask who is primary.
func TestOverageIsTheGreatestOfAllInstants(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		run := bill(t, w.state, w.deliveries, w.period, billing.DefaultRules(), issue)
		snapshot, err := billing.Snapshot(w.state, billing.DefaultRules())
		if err != nil {
			r.Fatal(err)
		}
		for _, of := range snapshot.Tenants {
			tenant := w.state.Tenant(of.ID)
			from, to := snapshot.Timelines.Zone(of.ID).Start(w.period.First()),
				snapshot.Timelines.Zone(of.ID).Start(w.period.Next().First())
			sessions := map[string][]aggregate.Interval{}
			instants := map[string][]int64{}
			for _, c := range aggregate.ResolveRevisions(w.deliveries) {
				a := snapshot.Timelines.Attribute(&c.Event)
				if c.Tenant != tenant.ID || !c.Wins || c.Voided || a.Subscription == "" || c.Type == schemas.ConnectUsage {
					continue
				}
				who := c.Agent
				if c.Type == schemas.IVRSession {
					who = c.ID
				}
				start, end := aggregate.DefaultRules().Live(&c.Event, aggregate.EndOfTime)
				sessions[a.Meter] = append(sessions[a.Meter], aggregate.Interval{Who: who, From: start, To: end})
				instants[a.Meter] = append(instants[a.Meter], start)
			}
			for _, meter := range []string{schemas.AgentPremium, schemas.AgentStandard, schemas.IVRPort} {
				if meter != schemas.IVRPort && tenant.Subscriptions[0].LicenceModel == registry.Named {
					continue
				}
				for d := w.period.First(); d < w.period.Next().First(); d++ {
					instants[meter] = append(instants[meter], snapshot.Timelines.Zone(of.ID).Start(d))
				}
				slices.Sort(instants[meter])
				var want string
				var greatest int64
				for _, ms := range instants[meter] {
					date := snapshot.Timelines.Zone(of.ID).DateOf(ms)
					primary := tenant.PrimaryOn(date)
					if ms < from || ms >= to || primary == nil {
						continue
					}
					live := map[string]bool{}
					for _, s := range sessions[meter] {
						if s.From <= ms && ms < s.To {
							live[s.Who] = true
						}
					}
					if over := int64(len(live)) - tenant.Entitlement(date, meter, 2); over > greatest {
						greatest, want = over, fmt.Sprintf("%s %d at %s", primary.ID, over, civil.FormatMillis(ms))
					}
				}
				var got string
				for _, i := range run.invoices {
					for _, l := range i.Lines {
						if i.Tenant == tenant.ID && l.Kind == billing.Overage && l.Meter == meter {
							got += fmt.Sprintf("%s %s at %s", i.Subscription, l.Quantity, l.PeakAt())
						}
					}
				}
				if got != want {
					r.Fatalf("%s %s: overage %q, want %q", tenant.ID, meter, got, want)
				}
			}
		}
	})
}

// changed is a tenant with other commitments, prices and ends: what a document may change of it.
func changed(r *rapid.T, t registry.Tenant) registry.Tenant {
	t.Subscriptions = slices.Clone(t.Subscriptions)
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		s.Versions = slices.Clone(s.Versions)
		for j := range s.Versions {
			v := &s.Versions[j]
			if rapid.Bool().Draw(r, "other commitments") {
				v.Commitments = map[string]int64{schemas.AgentStandard: rapid.Int64Range(0, 3).Draw(r, "seats")}
			}
			if rapid.Bool().Draw(r, "other prices") {
				price := decimal.New(rapid.Int64Range(0, 5_000_000).Draw(r, "price"), -6)
				v.Prices.Connect = map[string]decimal.Decimal{"sms": price}
				v.Prices.Overage = map[string]decimal.Decimal{schemas.AgentStandard: price, schemas.AgentPremium: price,
					schemas.IVRPort: price}
			}
		}
		if rapid.IntRange(0, 3).Draw(r, "cancels") == 0 {
			s.Cancelled = s.Terms[0].From.Add(rapid.IntRange(1, 20).Draw(r, "after"))
		}
	}
	return t
}

// step is a part of a story: documents that are applied, deliveries that arrive, and then a period that is issued.
type step struct {
	documents  []*registry.Document
	deliveries []schemas.Event
	period     civil.Month
}

// tell plays the steps, for one tenant alone if it is named, and returns every invoice issued and the registry in the
// end.
func tell(t *testing.T, r *rapid.T, steps []step, only string) ([]billing.Invoice, registry.State) {
	t.Helper()
	s := newStory()
	var issued []billing.Invoice
	for _, step := range steps {
		for _, doc := range step.documents {
			own := &registry.Document{Tenants: slices.DeleteFunc(slices.Clone(doc.Tenants),
				func(t registry.Tenant) bool { return only != "" && t.ID != only })}
			if refusals := s.apply(t, registry.Plan(s.ledger.state, own, 0)...); len(refusals) > 0 {
				r.Fatal(refusals)
			}
		}
		for _, d := range step.deliveries {
			if only == "" || d.Tenant == only {
				s.usage.deliveries = append(s.usage.deliveries, d)
			}
		}
		run, err := s.biller(billing.DefaultRules()).Issue(t.Context(), step.period, nil, 4102444800_000)
		if err != nil {
			r.Fatal(err)
		}
		for _, stop := range run.Stopped {
			r.Fatal(stop)
		}
		issued = append(issued, run.Invoices...)
	}
	return issued, s.ledger.state
}

// TestNothingIsChargedTwiceOrLost: in whatever order periods are issued, deliveries arrive and the registry changes,
// all that is issued for a period, adjustments included, is in the end what a first issue that knew everything would
// have charged, for each subscription, kind and meter (R21). Neither the order of deliveries that arrive together nor
// repeats matter, and no tenant's invoices depend on another's (R23).
func TestNothingIsChargedTwiceOrLost(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		other := &registry.Document{}
		for _, tenant := range w.document.Tenants {
			other.Tenants = append(other.Tenants, changed(r, tenant))
		}
		documents := []*registry.Document{w.document, other, w.document}[:rapid.IntRange(1, 3).Draw(r, "documents")]
		order := rapid.Permutation([]civil.Month{w.period - 1, w.period, w.period + 1}).Draw(r, "order")
		steps := []step{{documents: documents[:1]}, {}, {}, {period: w.period + 2}} // the last one has what is left to adjust
		for i := range order {
			steps[i].period = order[i]
		}
		for _, d := range w.deliveries {
			i := rapid.IntRange(0, 3).Draw(r, "arrives")
			steps[i].deliveries = append(steps[i].deliveries, d)
		}
		for _, doc := range documents[1:] {
			i := rapid.IntRange(1, 3).Draw(r, "applied")
			steps[i].documents = append(steps[i].documents, doc)
		}
		issued, state := tell(t, r, steps, "")

		type charge struct {
			period                    civil.Month
			subscription, kind, meter string
		}
		amounts := map[charge]decimal.Decimal{}
		sum := func(invoices []billing.Invoice, sign int64) {
			for _, i := range invoices {
				for _, l := range i.Lines {
					c := charge{i.Period, i.Subscription, string(l.Kind), l.Meter}
					if l.Kind == billing.Adjustment {
						c.period, c.kind = l.From.Month(), string(l.CorrectsKind)
					}
					if l.Kind != billing.UsageKind && c.period <= w.period+1 {
						amounts[c] = amounts[c].Add(l.Amount.Mul(decimal.NewFromInt(sign)))
					}
				}
			}
		}
		sum(issued, 1)
		for _, period := range order {
			sum(bill(t, state, w.deliveries, period, billing.DefaultRules(), issue).invoices, -1)
		}
		for c, left := range amounts {
			if !left.IsZero() {
				r.Fatalf("%+v: %s more is issued than is due", c, left)
			}
		}

		others := slices.Clone(steps)
		for i := range others {
			d := slices.Clone(others[i].deliveries)
			if len(d) > 0 {
				d = append(d, rapid.SliceOfN(rapid.SampledFrom(d), 0, 3).Draw(r, "repeated")...)
			}
			others[i].deliveries = rapid.Permutation(d).Draw(r, "shuffled")
		}
		again, _ := tell(t, r, others, "")
		if x, y := csv(t, issued), csv(t, again); x != y {
			r.Fatalf("%s\nwith deliveries in another order and repeated\n%s", x, y)
		}

		alone, _ := tell(t, r, steps, "acme")
		all := slices.DeleteFunc(issued, func(i billing.Invoice) bool { return i.Tenant != "acme" })
		if x, y := csv(t, all), csv(t, alone); x != y {
			r.Fatalf("acme beside beta\n%s\nalone\n%s", x, y)
		}
	})
}

// TestEveryInstantIsInOnePeriod holds R17: the months of a zone follow one another without gap or overlap, and an
// instant is in the month of its date.
func TestEveryInstantIsInOnePeriod(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		zone, err := civil.LoadZone(rapid.SampledFrom([]string{"UTC", "Europe/Stockholm", "America/Havana", "Asia/Tokyo",
			"Pacific/Apia",
			"America/Santiago", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Kiritimati",
			"America/St_Johns"}).Draw(r, "zone"))
		if err != nil {
			r.Fatal(err)
		}
		ms := rapid.Int64Range(0, 4102444800_000).Draw(r, "instant") // 1970 to 2099
		if rapid.Bool().Draw(r, "at the edge") {
			first := zone.DateOf(ms).Month().First()
			ms = zone.Start(first) + rapid.Int64Range(-1, 1).Draw(r, "from the edge")
		}
		var in []civil.Month
		of := zone.DateOf(ms).Month()
		for m := of - 2; m <= of+2; m++ {
			days := aggregate.Days("acme", zone, m.First(), m.Next().First())
			if days[0].FromMS <= ms && ms < days[len(days)-1].ToMS {
				in = append(in, m)
			}
			for i, d := range days[1:] {
				if days[i].ToMS != d.FromMS {
					r.Fatalf("%s: %s does not begin where %s ends", m, d.Date, days[i].Date)
				}
			}
		}
		if !slices.Equal(in, []civil.Month{of}) {
			r.Fatalf("%s %s is in %v, want %s alone", zone.Name(), civil.FormatMillis(ms), in, of)
		}
	})
}
