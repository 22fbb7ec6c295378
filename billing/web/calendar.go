package web

import (
	"fmt"
	"io"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"
	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// calendarType is the media type of calendars (RFC 5545).
const calendarType = "text/calendar"

// calendarFormat writes what has a calendar as one.
var calendarFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		page, ok := v.(AccessPage)
		if !ok {
			return fmt.Errorf("%T has no calendar", v)
		}
		return page.calendar.write(w)
	},
	Unmarshal: func([]byte, any) error { return fmt.Errorf("nothing is read as a calendar") },
}

// calendar has an event of a whole day for each date on which users of a tenant lose access. Its bytes follow from the
// registry alone, so whoever subscribes to it sees only what has changed.
type calendar struct {
	tenant    *registry.Tenant
	losses    []registry.DatedLoss // by date, role and user
	changedMS int64                // when the tenant changed last, in UTC epoch milliseconds
}

// namedInEvent is how many users of a role an event names.
const namedInEvent = 50

func (c calendar) write(w io.Writer) error {
	cal := ics.NewCalendar()
	cal.SetProductId("-//Apportion//Access//EN")
	cal.SetXWRCalName("Access of " + c.tenant.Name)
	for rest := c.losses; len(rest) > 0; {
		n := 0
		for n < len(rest) && rest[n].Date == rest[0].Date {
			n++
		}
		c.event(cal, rest[:n])
		rest = rest[n:]
	}
	return cal.SerializeTo(w, ics.WithNewLineWindows) // RFC 5545 ends lines so everywhere
}

// event adds the event of a date.
func (c calendar) event(cal *ics.Calendar, losses []registry.DatedLoss) {
	date := losses[0].Date
	event := cal.AddEvent(fmt.Sprintf("access-%s-%s@apportion", c.tenant.ID, date))
	event.SetDtStampTime(time.UnixMilli(c.changedMS).UTC())
	event.SetAllDayStartAt(date.Time())
	event.SetAllDayEndAt(date.Add(1).Time())
	event.SetTimeTransparency(ics.TransparencyTransparent)
	noun := "users lose"
	if len(losses) == 1 {
		noun = "user loses"
	}
	event.SetSummary(fmt.Sprintf("%s: %d %s access", c.tenant.Name, len(losses), noun))
	event.SetDescription(strings.Join(c.lines(date, losses), "\n"))
}

// lines say who loses access on a date, what ended it and what would keep it.
func (c calendar) lines(date civil.Date, losses []registry.DatedLoss) []string {
	lines := []string{fmt.Sprintf("From 00:00 on %s in %s nothing that they are mapped to is active (R7).",
		date, c.tenant.TimeZone)}
	of := map[string][]string{}
	seen := map[registry.Ended]bool{}
	var ended []string
	for _, l := range losses {
		of[l.Role] = append(of[l.Role], l.User)
		for _, e := range l.Ended {
			if !seen[e] {
				seen[e] = true
				ended = append(ended, e.String())
			}
		}
	}
	for _, role := range []struct{ role, name string }{{registry.Admin, "Administrators"}, {registry.Agent, "Agents"}} {
		users := of[role.role]
		if len(users) == 0 {
			continue
		}
		more := ""
		if len(users) > namedInEvent {
			more = fmt.Sprintf(" and %d more", len(users)-namedInEvent)
		}
		named := strings.Join(users[:min(len(users), namedInEvent)], ", ")
		lines = append(lines, role.name+": "+named+more)
	}
	lines = append(lines, "Why: "+strings.Join(ended, "; "))
	if keep := losses[0].WouldKeep; len(keep) > 0 {
		lines = append(lines, "What would keep it: a mapping to "+strings.Join(keep, " or ")+", active then")
	} else {
		lines = append(lines, "No subscription is active then.")
	}
	return lines
}
