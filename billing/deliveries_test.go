package billing_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// parseDeliveries reads the section `deliveries` of a script; testdata/rules/README.md explains the notation. Events
// without an id have one that begins as given.
func parseDeliveries(text, unnamed string) ([]schemas.Event, error) {
	var all []schemas.Event
	tenant, date := "acme", civil.NoDate
	for n, line := range slices.Collect(strings.Lines(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 0:
		case words[0] == "tenant" && len(words) == 2:
			tenant = words[1]
		case words[0] == "on" && len(words) == 2:
			date, err = civil.ParseDate(words[1])
		default:
			var events []schemas.Event
			events, err = parseDelivery(words, date, fmt.Sprintf("%s-%d", unnamed, n+1))
			for _, e := range events {
				e.Tenant = tenant
				all = append(all, e)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("deliveries, %q: %w", strings.TrimSpace(line), err)
		}
	}
	return all, nil
}

// parseDelivery reads one line: what and who, then when, then the rest in any order.
func parseDelivery(words []string, date civil.Date, id string) ([]schemas.Event, error) {
	d := delivery{words: words, date: date, id: id, times: 1, event: schemas.Event{
		Source: "script", StartMS: schemas.Absent, EndMS: schemas.Absent, TimeMS: schemas.Absent}}
	if err := d.what(); err != nil {
		return nil, err
	}
	if err := d.when(); err != nil {
		return nil, err
	}
	for len(d.words) > 0 {
		if err := d.option(); err != nil {
			return nil, err
		}
	}
	if n := len(d.whos) * d.times; d.named && n > 1 {
		return nil, fmt.Errorf("%d events cannot all be %s", n, d.id)
	}
	return d.events(), nil
}

// delivery is a line that is being read.
type delivery struct {
	words []string // what is still to be read
	date  civil.Date
	id    string
	named bool // the line has the id
	whos  []string
	times int
	event schemas.Event // of each of them
}

func (d *delivery) next() (word string) {
	if len(d.words) > 0 {
		word, d.words = d.words[0], d.words[1:]
	}
	return word
}

// skip reads the next word if it is this one.
func (d *delivery) skip(word string) bool {
	found := len(d.words) > 0 && d.words[0] == word
	if found {
		d.next()
	}
	return found
}

func (d *delivery) what() error {
	switch kind := d.next(); kind {
	case "agent":
		d.event.Type, d.whos = schemas.AgentSession, names(d.next())
	case "ivr":
		d.event.Type, d.whos = schemas.IVRSession, names(d.next())
	case "connect":
		d.event.Type, d.whos = schemas.ConnectUsage, []string{d.next()}
		quantity, err := decimal.NewFromString(d.next())
		if err != nil {
			return err
		}
		d.event.Quantity = quantity.Shift(6).IntPart()
	default:
		return fmt.Errorf("nothing is called %q", kind)
	}
	return nil
}

func (d *delivery) when() (err error) {
	if d.skip("at") {
		d.event.TimeMS, err = parseTime(d.next(), d.date)
		return err
	}
	if d.event.StartMS, err = parseTime(d.next(), d.date); err != nil {
		return err
	}
	d.event.TimeMS = d.event.StartMS
	if d.skip("open") {
		return nil
	}
	d.event.EndMS, err = parseTime(d.next(), d.date)
	d.event.TimeMS = d.event.EndMS
	return err
}

func (d *delivery) option() (err error) {
	word := d.next()
	name, value, _ := strings.Cut(word, "=")
	switch {
	case word == "for":
		d.event.Subscription = d.next()
	case word == "premium", word == "standard":
		d.event.Class = word
	case word == "void":
		d.event.Voided = true
	case name == "id":
		d.id, d.named = value, true
	case name == "source":
		d.event.Source = value
	case name == "rev":
		var revision int
		revision, err = strconv.Atoi(value)
		d.event.Revision = int32(revision)
	case name == "time":
		d.event.TimeMS, err = parseTime(value, d.date)
	case strings.HasPrefix(word, "x"):
		d.times, err = strconv.Atoi(word[1:])
	default:
		err = fmt.Errorf("nothing is called %q", word)
	}
	return err
}

// events returns the events of the line: as many as it says, of everybody that it names.
func (d *delivery) events() (events []schemas.Event) {
	for _, who := range d.whos {
		for k := range d.times {
			e := d.event
			switch e.Type {
			case schemas.AgentSession:
				e.Agent = who
			case schemas.IVRSession:
				e.EntryPoint = who
			case schemas.ConnectUsage:
				e.Channel = who
			}
			if e.ID = d.id; !d.named {
				e.ID = fmt.Sprintf("%s/%s/%d", d.id, who, k)
			}
			events = append(events, e)
		}
	}
	return events
}

var rangeForm = regexp.MustCompile(`^(.*?)([0-9]+)\.\.(.*?)([0-9]+)$`)

// names reads a1..a14 as the fourteen names that it stands for, and anything else as itself.
func names(word string) []string {
	m := rangeForm.FindStringSubmatch(word)
	if m == nil || m[1] != m[3] {
		return []string{word}
	}
	first, _ := strconv.Atoi(m[2])
	last, _ := strconv.Atoi(m[4])
	var all []string
	for i := first; i <= last; i++ {
		all = append(all, m[1]+strconv.Itoa(i))
	}
	return all
}

var clockForm = regexp.MustCompile(`^\d\d:\d\d(:\d\d(\.\d{1,3})?)?$`)

// parseTime reads 2026-10-14T08:00Z, or 08:00 for that time of UTC on the date; seconds and milliseconds may follow.
func parseTime(word string, date civil.Date) (int64, error) {
	day, clock, dated := strings.Cut(strings.TrimSuffix(word, "Z"), "T")
	if !dated {
		day, clock = date.String(), word
	}
	if dated != strings.HasSuffix(word, "Z") || !clockForm.MatchString(clock) || day == "" {
		return 0, fmt.Errorf("%q is not a time; write 2026-10-14T08:00Z, or 08:00 below a line such as on 2026-10-14", word)
	}
	if len(clock) == len("08:00") {
		clock += ":00"
	}
	return civil.ParseInstant(day + "T" + clock + "Z")
}
