package pdf

import (
	"fmt"
	"testing"

	"apportion/billing"
	"apportion/schemas/civil"
)

func TestWhy(t *testing.T) {
	const named = billing.NoInstant
	for _, c := range []struct {
		meter, unit, quantity string
		entitled, peakMS      int64
		pooled                bool
		want                  string
	}{
		{"agent_standard", "seat", "1", 25, peakMS, true,
			"At 10:31 on 14 October, 26 agents were signed in at once; the subscriptions together include 25. One seat of overage is charged to this subscription because it is the oldest active one."},
		{"agent_premium", "seat", "12", 1000, peakMS, false,
			"At 10:31 on 14 October, 1 012 premium agents were signed in at once; the subscription includes 1 000. The 12 seats of overage are charged."},
		{"agent_standard", "seat", "1", 0, peakMS, false,
			"At 10:31 on 14 October, 1 agent was signed in at once; the subscription includes none. One seat of overage is charged."},
		{"ivr_port", "port", "3", 50, peakMS, true,
			"At 10:31 on 14 October, 53 IVR calls were in progress at once; the subscriptions together include 50. Three ports of overage are charged to this subscription because it is the oldest active one."},
		{"agent_standard", "seat", "2", 25, named, true,
			"In October 2026, 27 different agents worked; the subscriptions together include 25. Two seats of overage are charged to this subscription because it is the oldest of those active at the end."},
		{"agent_premium", "seat", "2", 0, named, false,
			"In October 2026, 2 different premium agents worked; the subscription includes none. Two seats of overage are charged."},
	} {
		line := billing.Line{Kind: billing.Overage, Meter: c.meter, Unit: c.unit, Quantity: dec(c.quantity), Entitled: c.entitled, PeakMS: c.peakMS}
		if got := plainSpaces(why(invoiceOf("SEK", 2), line, stockholm, c.pooled)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	october, september := civil.NewMonth(2026, 10), civil.NewMonth(2026, 9)
	for _, c := range []struct {
		line       billing.Line
		what, more string
	}{
		{billing.Line{Kind: billing.Commitment, Meter: "agent_standard", From: october.First(), To: october.Next().First(), Days: 31},
			"Standard seats, committed · 1–31 October 2026", ""},
		{billing.Line{Kind: billing.Commitment, Meter: "ivr_port", From: civil.NewDate(2026, 10, 31), To: october.Next().First(), Days: 1},
			"IVR ports, committed · 31 October 2026", "1 of the 31 days of the month, at the price of a month"},
		{billing.Line{Kind: billing.Connect, Meter: "connect.whatsapp", From: october.First(), To: civil.NewDate(2026, 10, 3)},
			"Connect, WhatsApp · 1–2 October 2026", ""},
		{billing.Line{Kind: billing.Connect, Meter: "connect.fax-2", From: october.First(), To: civil.NewDate(2026, 10, 3)},
			"Connect, fax-2 · 1–2 October 2026", ""},
		{billing.Line{Kind: billing.Overage, Meter: "agent_premium", From: october.First(), To: october.Next().First()},
			"Premium seats, overage · 1–31 October 2026", ""},
		{billing.Line{Kind: billing.Adjustment, Meter: "addon.wfo", From: september.First(), To: october.First(), Corrects: "INV-S-202609/3", CorrectsKind: billing.Commitment},
			"Add-on wfo, correction of September 2026", "Corrects line 3 of invoice INV-S-202609: Add-on wfo, committed · 1–30 September 2026"},
		{billing.Line{Kind: billing.Adjustment, Meter: "connect.sms", From: september.First(), To: october.First(), Corrects: "INV-S-202609", CorrectsKind: billing.Connect},
			"Connect, SMS, correction of September 2026", "Adds to invoice INV-S-202609: Connect, SMS · 1–30 September 2026"},
	} {
		if what, more := describe(invoiceOf("SEK", 2), c.line, nil); what != c.what || more != c.more {
			t.Errorf("got %q, %q, want %q, %q", what, more, c.what, c.more)
		}
	}
}

func TestGrouped(t *testing.T) {
	for _, c := range []struct {
		amount string
		places int32
		want   string
	}{
		{"0", 2, "0.00"}, {"0", 0, "0"}, {"999.5", 2, "999.50"}, {"1000", 2, "1 000.00"}, {"-1234567.891", 3, "−1 234 567.891"}, {"1e6", 0, "1 000 000"},
		{"0.450000", 2, "0.45"}, {"0.045000", 2, "0.045"}, {"1.5", 0, "1.5"}, {"-0.5", 2, "−0.50"}, {"123456", 0, "123 456"},
	} {
		if got := plainSpaces(grouped(dec(c.amount), c.places)); got != c.want {
			t.Errorf("%s with %d places: %q, want %q", c.amount, c.places, got, c.want)
		}
	}
}

func TestDates(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"2026-10-01", "2026-11-01", "1–31 October 2026"}, {"2026-10-05", "2026-10-06", "5 October 2026"},
		{"2026-10-05", "2026-11-06", "5 October – 5 November 2026"}, {"2026-12-31", "2027-01-02", "31 December 2026 – 1 January 2027"},
		{"2025-10-05", "2026-10-06", "5 October 2025 – 5 October 2026"},
	} {
		from, _ := civil.ParseDate(c.from)
		to, _ := civil.ParseDate(c.to)
		if got := dates(from, to); got != c.want {
			t.Errorf("[%s, %s) is %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestPayment(t *testing.T) {
	invoice, due := invoiceOf("SEK", 2), civil.NewDate(2026, 12, 4)
	for _, c := range []struct {
		gross string
		iban  string
		draft bool
		want  string
	}{
		{"1250", "SE45", false, "Please pay SEK 1 250.00 by 4 December 2026 to the account below, quoting INV-Sub1-202610."},
		{"1250", "", true, "Once this is issued, please pay SEK 1 250.00 by 4 December 2026, quoting INV-Sub1-202610."},
		{"0", "SE45", true, "Nothing is to be paid."},
		{"-1250", "SE45", false, "Nothing is to be paid: SEK 1 250.00 is credited to you."},
		{"-1250", "SE45", true, "Nothing is to be paid: SEK 1 250.00 will be credited to you."},
	} {
		if got := plainSpaces(payment(invoice, dec(c.gross), due, billing.Seller{IBAN: c.iban}, c.draft)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestTicks(t *testing.T) {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		t.Fatal(err)
	}
	const hour, change = 3600_000, 1792890000_000 // 2026-10-25T01:00Z, when 03:00 becomes 02:00
	labels := func(start, end int64) (all []string) {
		for _, tick := range ticks(zone, start, end) {
			all = append(all, tick.label)
		}
		return all
	}
	for _, c := range []struct {
		start, end int64
		want       string
	}{
		{change - 2*hour, change + 3*hour, "[01:00 02:00 02:00 03:00 04:00 05:00]"},
		{change + 10*60_000, change + 40*60_000, "[02:10 02:15 02:20 02:25 02:30 02:35 02:40]"},
		{peakMS - 86400_000, peakMS + 86400_000, "[12:00 14 Oct 12:00 15 Oct]"},
		{peakMS, peakMS, "[]"},
	} {
		if got := fmt.Sprint(labels(c.start, c.end)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	for span := int64(60_000); span < 32*86400_000; span = span*3/2 + 1 {
		if n := len(labels(peakMS, peakMS+span)); n > 8 {
			t.Errorf("%d marks in %d minutes", n, span/60_000)
		}
	}
}

func TestScale(t *testing.T) {
	for most, want := range map[int64][2]int64{1: {1, 1}, 4: {1, 4}, 5: {2, 6}, 26: {10, 30}, 10880: {5000, 15000}} {
		if step, ceiling := scale(most); step != want[0] || ceiling != want[1] {
			t.Errorf("up to %d: steps of %d to %d, want %v", most, step, ceiling, want)
		}
	}
}

// TestWhyCorrected: what came, what it has made of the peak and of the pool, and what was charged before (R21).
func TestWhyCorrected(t *testing.T) {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		t.Fatal(err)
	}
	at := func(quantity, amount string, peak, entitled int64) billing.Charged {
		return billing.Charged{Quantity: dec(quantity), Amount: dec(amount), PeakMS: peak, Entitled: entitled}
	}
	const none = billing.NoInstant
	for _, c := range []struct {
		kind   billing.Kind
		meter  string
		reason billing.Reason
		want   string
	}{
		{billing.Overage, "agent_standard", billing.Reason{Late: 2, Corrected: 1, Then: at("1", "1100", peakMS, 25), Now: at("3", "3300", peakMS+3600_000, 26)},
			"After September 2026 was invoiced, two sessions came in late and one was corrected. " +
				"At 11:31 on 14 October, 29 agents were signed in at once; the subscriptions together include 26. " +
				"Invoiced before were 26 at 10:31 on 14 October, with 25 included. " +
				"This makes three seats for SEK 3 300.00 in place of one seat for SEK 1 100.00."},
		{billing.Overage, "agent_standard", billing.Reason{Corrected: 1, Then: at("1", "1100", peakMS, 25), Now: at("0", "0", none, 0)},
			"After September 2026 was invoiced, one session was corrected. No overage of this subscription is left. " +
				"Invoiced before were 26 at 10:31 on 14 October, with 25 included. " +
				"This makes nothing in place of one seat for SEK 1 100.00."},
		{billing.Overage, "ivr_port", billing.Reason{Late: 1, Then: at("0", "0", none, 0), Now: at("1", "150", peakMS, 5)},
			"After September 2026 was invoiced, one call came in late. " +
				"At 10:31 on 14 October, 6 IVR calls were in progress at once; the subscriptions together include 5. " +
				"This makes one seat for SEK 150.00 in place of nothing."},
		{billing.Overage, "agent_premium", billing.Reason{Late: 3, Then: at("1", "10", none, 4), Now: at("2", "20", none, 4)},
			"After September 2026 was invoiced, three sessions came in late. " +
				"In September 2026, 6 different premium agents worked; the subscriptions together include 4. " +
				"Invoiced before were 5, with 4 included. This makes two seats for SEK 20.00 in place of one seat for SEK 10.00."},
		{billing.Connect, "connect.sms", billing.Reason{Late: 1, Corrected: 2, Then: at("40", "18", none, 0), Now: at("95.5", "42.98", none, 0)},
			"After September 2026 was invoiced, one report of usage came in late and two were corrected. " +
				"This makes 95.5 seats for SEK 42.98 in place of 40 seats for SEK 18.00."},
		{billing.Connect, "connect.sms", billing.Reason{Late: 1, Corrected: 2, Registry: true, Then: at("40", "18", none, 0), Now: at("95.5", "42.98", none, 0)},
			"After September 2026 was invoiced, one report of usage came in late and two were corrected, and what was agreed for the month was changed. " +
				"This makes 95.5 seats for SEK 42.98 in place of 40 seats for SEK 18.00."},
		{billing.Connect, "connect.sms", billing.Reason{Corrected: 1, Registry: true, Then: at("40", "18", none, 0), Now: at("95.5", "42.98", none, 0)},
			"After September 2026 was invoiced, one report of usage was corrected, and what was agreed for the month was changed. " +
				"This makes 95.5 seats for SEK 42.98 in place of 40 seats for SEK 18.00."},
		{billing.Overage, "agent_standard", billing.Reason{Late: 1, Registry: true, Then: at("0", "0", none, 0), Now: at("1", "200", peakMS, 25)},
			"After September 2026 was invoiced, one session came in late, and what was agreed for the month was changed. " +
				"At 10:31 on 14 October, 26 agents were signed in at once; the subscriptions together include 25. " +
				"This makes one seat for SEK 200.00 in place of nothing."},
		{billing.Commitment, "agent_standard", billing.Reason{Registry: true, Then: at("10", "9000", none, 0), Now: at("12", "10800", none, 0)},
			"After September 2026 was invoiced, what was agreed for the month was changed. " +
				"This makes 12 seats for SEK 10 800.00 in place of 10 seats for SEK 9 000.00."},
		{billing.Overage, "agent_standard", billing.Reason{Then: at("0", "0", none, 0), Now: at("0", "0", none, 0)},
			"September 2026 was rated again by other settings. No overage of this subscription is left. This makes nothing in place of nothing."},
	} {
		l := billing.Line{Kind: billing.Adjustment, CorrectsKind: c.kind, Meter: c.meter, Unit: "seat", From: civil.NewDate(2026, 9, 1)}
		if got := plainSpaces(whyCorrected(invoiceOf("SEK", 2), l, &c.reason, zone, true)); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}
