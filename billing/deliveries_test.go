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
	e := schemas.Event{Source: "script", StartMS: schemas.Absent, EndMS: schemas.Absent, TimeMS: schemas.Absent}
	next := func() (word string) {
		if len(words) > 0 {
			word, words = words[0], words[1:]
		}
		return word
	}
	var err error
	instant := func(dst *int64) {
		var e error
		if *dst, e = parseTime(next(), date); e != nil && err == nil {
			err = e
		}
	}
	var whos []string
	switch kind := next(); kind {
	case "agent":
		e.Type, whos = schemas.AgentSession, names(next())
	case "ivr":
		e.Type, whos = schemas.IVRSession, names(next())
	case "connect":
		e.Type, whos = schemas.ConnectUsage, []string{next()}
		quantity, err := decimal.NewFromString(next())
		if err != nil {
			return nil, err
		}
		e.Quantity = quantity.Shift(6).IntPart()
	default:
		return nil, fmt.Errorf("nothing is called %q", kind)
	}
	if len(words) > 0 && words[0] == "at" {
		next()
		instant(&e.TimeMS)
	} else {
		instant(&e.StartMS)
		e.TimeMS = e.StartMS
		if len(words) > 0 && words[0] == "open" {
			next()
		} else {
			instant(&e.EndMS)
			e.TimeMS = e.EndMS
		}
	}
	named, times := false, 1
	for err == nil && len(words) > 0 {
		word := next()
		name, value, _ := strings.Cut(word, "=")
		switch {
		case word == "for":
			e.Subscription = next()
		case word == "premium", word == "standard":
			e.Class = word
		case word == "void":
			e.Voided = true
		case name == "id":
			id, named = value, true
		case name == "source":
			e.Source = value
		case name == "rev":
			var revision int
			revision, err = strconv.Atoi(value)
			e.Revision = int32(revision)
		case name == "time":
			e.TimeMS, err = parseTime(value, date)
		case strings.HasPrefix(word, "x"):
			times, err = strconv.Atoi(word[1:])
		default:
			err = fmt.Errorf("nothing is called %q", word)
		}
	}
	if err == nil && named && len(whos)*times > 1 {
		err = fmt.Errorf("%d events cannot all be %s", len(whos)*times, id)
	}
	var events []schemas.Event
	for _, who := range whos {
		for k := range times {
			e := e
			switch e.Type {
			case schemas.AgentSession:
				e.Agent = who
			case schemas.IVRSession:
				e.EntryPoint = who
			case schemas.ConnectUsage:
				e.Channel = who
			}
			if e.ID = id; !named {
				e.ID = fmt.Sprintf("%s/%s/%d", id, who, k)
			}
			events = append(events, e)
		}
	}
	return events, err
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
