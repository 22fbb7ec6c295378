package export

import (
	"io"
	"slices"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// plainly has the files of single invoices written in the plainest way, for tests of what is around them: refused
// without an address to bill, and else a line of text.
func plainly(t testing.TB) {
	before := perInvoice
	t.Cleanup(func() { perInvoice = before })
	perInvoice = slices.Clone(perInvoice)
	for n := range perInvoice {
		format := &perInvoice[n]
		folder, extension := format.folder, format.extension
		format.write = func(w io.Writer, i billing.Invoice, account billing.Account, _ bool) error {
			if account.Tenant.BillTo == nil {
				return &Refusal{Tenant: i.Tenant, Invoice: i.ID, File: folder + "/" + i.ID + extension, Code: "missing_bill_to", Field: "billTo",
					Message: "is not there", Advice: "add billTo to its registry document"}
			}
			_, err := io.WriteString(w, folder+" "+i.ID+"\n")
			return err
		}
	}
}

var seller = billing.Seller{
	Name: "Seller AB", Address: registry.Address{Street: "Gatan 1", City: "Stockholm", Postcode: "111 22", Country: "SE"},
	VATID: "SE556677889901", RegistrationID: "5566778899", IBAN: "SE4550000000058398257466", TermsDays: 30,
}

// accounts are those of the tenants of the sample and of the month; beta was issued later than the others.
func accounts() map[string]billing.Account {
	tenant := func(id, name, zone string, names map[string]string) *registry.Tenant {
		t := &registry.Tenant{ID: id, Name: name, TimeZone: zone, BillTo: &registry.BillTo{Address: registry.Address{Country: "SE"}}}
		for _, id := range []string{"Named", "Prepaid", "Sub1", "Sub2", "Yen"} {
			if name, ok := names[id]; ok {
				t.Subscriptions = append(t.Subscriptions, registry.Subscription{ID: id, Name: name})
			}
		}
		return t
	}
	early := []aggregate.Position{{Topic: "usage.ivr.v1", Partition: 0, LastOffset: 11}, {Topic: "usage.agent.v1", Partition: 1, LastOffset: 41}, {Topic: "usage.agent.v1", Partition: 0, LastOffset: 40}}
	late := []aggregate.Position{{Topic: "usage.agent.v1", Partition: 0, LastOffset: 90}}
	basis := func(registryOffset int64, positions []aggregate.Position) aggregate.Basis {
		return aggregate.Basis{
			RegistryOffset: registryOffset, Pass: uint64(registryOffset)<<38 + 2, Positions: positions,
			Rules: billing.DefaultRules().JSON(), TZVersion: "2025c",
		}
	}
	issue := civil.NewDate(2026, 11, 4)
	all := map[string]billing.Account{
		"acme": {Tenant: tenant("acme", "Acme AB", "Europe/Stockholm", map[string]string{"Sub1": "Customer service", "Sub2": "=HYPERLINK(1)"}),
			IssueDate: issue, Basis: basis(3, early),
			Balance: aggregate.Balance{Accepted: 100, Counted: 90, Duplicate: 4, Superseded: 3, Voided: 2, Unallocated: 1, Unmapped: 5, OpenSessions: 6, UnknownSubscription: 7, Conflicts: 8}},
		"beta": {Tenant: tenant("beta", "Béta <KK> & Co", "Asia/Tokyo", map[string]string{"Yen": "東京"}),
			IssueDate: issue, Basis: basis(5, late)},
		"gamma": {Tenant: tenant("gamma", "Gamma", "America/New_York", map[string]string{"Named": "Heads", "Prepaid": "Paid ahead"}),
			IssueDate: issue, Basis: basis(3, early)},
	}
	a := all["acme"]
	a.Findings = []billing.Finding{
		{Code: "unmapped", Tenant: "acme", Period: civil.NewMonth(2026, 10), Count: 5, Names: []string{"/t a", "/t b", "/t c", "/t d", "/t e"}, Rule: "R10", Advice: "map the agents",
			Records: []schemas.RecordID{{Topic: "usage.agent.v1", Offset: 7}}},
		{Code: "open_session", Tenant: "acme", Period: civil.NewMonth(2026, 10), Count: 6, Names: []string{"/t f"}, Rule: "R12", Advice: "send the ends"},
	}
	all["acme"] = a
	for id, a := range all {
		a.Seller, a.Zone = seller, zoneOf(a.Tenant.TimeZone)
		all[id] = a
	}
	return all
}

// sentBy is a run of what one seller sends.
func sentBy(run *billing.Run, seller billing.Seller) *billing.Run {
	for id, a := range run.Accounts {
		run.Accounts[id] = from(a, seller)
	}
	return run
}

// from is an account of what a seller sends.
func from(a billing.Account, seller billing.Seller) billing.Account {
	a.Seller = seller
	if a.Tenant != nil && a.Tenant.TimeZone != "" {
		a.Zone = zoneOf(a.Tenant.TimeZone)
	}
	return a
}

func zoneOf(name string) *civil.Zone {
	zone, err := civil.LoadZone(name)
	if err != nil {
		panic(err)
	}
	return zone
}

// monthRun is a run that has lines of every kind as billing makes them: prorated, prepaid, by heads, adjusted, in
// currencies of 0, 2 and 3 minor units; no name in it goes beyond ASCII.
func monthRun() *billing.Run {
	october := civil.NewMonth(2026, 10)
	from, to := october.First(), october.Next().First()
	const peak = 1791966667_000 // 2026-10-14T08:31:07Z
	line := func(no int, kind billing.Kind, meter, quantity, unit, unitPrice, amount string) billing.Line {
		l := billing.Line{No: no, Kind: kind, Meter: meter, Quantity: dec(quantity), Unit: unit, Amount: dec(amount), From: from, To: to,
			PeakMS: billing.NoInstant, Note: "the rule and the figures"}
		if unitPrice != "" {
			l.UnitPrice = price(unitPrice)
		}
		if kind == billing.Commitment {
			l.Days = 31
		}
		return l
	}
	with := func(l billing.Line, change func(*billing.Line)) billing.Line {
		change(&l)
		return l
	}
	first10 := func(l *billing.Line) { l.To, l.Days = from.Add(10), 10 }
	atPeak := func(l *billing.Line) { l.PeakMS, l.Entitled = peak, 25 }
	corrects := func(kind billing.Kind, no string) func(*billing.Line) {
		return func(l *billing.Line) {
			l.CorrectsKind, l.Corrects = kind, "INV-Sub1-202609"+no
			l.From, l.To = civil.NewDate(2026, 9, 1), civil.NewDate(2026, 10, 1)
		}
	}
	invoice := func(tenant, subscription, currency string, places int32, lines ...billing.Line) billing.Invoice {
		i := billing.Invoice{ID: billing.InvoiceID(subscription, october), Tenant: tenant, Subscription: subscription, Period: october,
			Currency: currency, MinorUnits: places, Lines: lines}
		for _, l := range lines {
			i.Total = i.Total.Add(l.Amount)
		}
		return i
	}
	run := &billing.Run{Period: october, Accounts: accounts(), Invoices: []billing.Invoice{
		invoice("acme", "Sub1", "SEK", 2,
			line(1, billing.Commitment, "addon.wfo", "3", "seat", "33.333333", "100.00"),
			with(line(2, billing.Commitment, "agent_standard", "10", "seat", "900", "2903.23"), first10),
			with(line(3, billing.UsageKind, "agent_standard", "26", "seat", "", "0"), atPeak),
			line(4, billing.Connect, "connect.sms", "999999999999.999999", "unit", "0.000015", "15000000.00"),
			with(line(5, billing.Overage, "agent_standard", "1", "seat", "1100", "1100"), func(l *billing.Line) {
				atPeak(l)
				l.Pool = []billing.PoolPoint{{AtMS: peak - 60_000, Live: 25, Entitled: 25}, {AtMS: peak, Live: 26, Entitled: 25}}
			}),
			with(line(6, billing.Adjustment, "agent_standard", "-1", "seat", "", "-1100"), corrects(billing.Overage, "/3")),
			with(line(7, billing.Adjustment, "connect.sms", "0", "unit", "", "0.01"), corrects(billing.Connect, "")),
		),
		invoice("acme", "Sub2", "KWD", 3, with(line(1, billing.Commitment, "ivr_port", "7", "port", "1.0005", "2.259"), first10)),
		invoice("beta", "Yen", "JPY", 0, line(1, billing.Commitment, "agent_premium", "2", "seat", "15000", "30000")),
		invoice("gamma", "Named", "USD", 2, with(line(1, billing.Overage, "agent_standard", "2", "seat", "0", "0"), func(l *billing.Line) { l.Entitled = 0 })),
		invoice("gamma", "Prepaid", "USD", 2, with(line(1, billing.UsageKind, "ivr_port", "4", "port", "", "0"), atPeak)),
	}}
	a := run.Accounts["beta"]
	a.Tenant.Name, a.Tenant.Subscriptions[0].Name = "Beta KK", "Tokyo"
	return run
}
