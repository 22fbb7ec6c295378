package console

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"apportion/schemas/civil"
)

func (c *Console) accessScreens() []screen {
	return []screen{
		{path: "/tenants/{tenant}/access", needs: "listAccess", show: c.access, send: c.mapLosing},
		{path: "/tenants/{tenant}/access.csv", needs: "listAccess", show: func(p *page) error {
			return p.accessFile("text/csv", "csv")
		}},
		{path: "/tenants/{tenant}/access.ics", needs: "listAccess", show: func(p *page) error {
			return p.accessFile("text/calendar", "ics")
		}},
	}
}

// losses are who loses access as GET /tenants/{tenant}/access has it.
type losses struct {
	Dates []lossDate `json:"dates"`
	Items []loss     `json:"items"`
	Next  string     `json:"next"`
}

// lossDate is a date on which users lose access.
type lossDate struct {
	Date      civil.Date `json:"date"`
	Admins    int        `json:"admins"`
	Agents    int        `json:"agents"`
	WouldKeep []string   `json:"wouldKeep"`
}

// Says is what happens on the date, in words.
func (d lossDate) Says() string {
	switch admins, agents := plural(d.Admins, "administrator", "administrators"), plural(d.Agents, "agent", "agents"); {
	case d.Admins == 0:
		return agents
	case d.Agents == 0:
		return admins
	default:
		return agents + " and " + admins
	}
}

// loss is a user who loses access on a date.
type loss struct {
	Date          civil.Date `json:"date"`
	Role          string     `json:"role"`
	User          string     `json:"user"`
	Subscriptions []string   `json:"subscriptions"`
	Ended         []ended    `json:"ended"`
	WouldKeep     []string   `json:"wouldKeep"`
}

// ended is what ended the access that a user had through a subscription.
type ended struct {
	Subscription string `json:"subscriptionId"`
	What         string `json:"what"`
}

// String says it in words.
func (e ended) String() string {
	switch e.What {
	case "term":
		return "the term of " + e.Subscription + " ends"
	case "cancellation":
		return e.Subscription + " is cancelled"
	}
	return "the mapping to " + e.Subscription + " ends"
}

// accessMonths is how many months the calendar has.
const accessMonths = 12

// accessRange is the months that the page shows, from the one of its address, or else the tenant's present one.
func (p *page) accessRange() (first, past civil.Month, err error) {
	first = p.Tenant.Date.Month()
	if from := p.Query("from"); from != "" {
		if first, err = civil.ParseMonth(from); err != nil {
			return first, past, &problem{Status: http.StatusBadRequest, Title: "No such month", Detail: err.Error()}
		}
	}
	return first, first + accessMonths, nil
}

// calendarPage is twelve months with who loses access when, and one of their dates.
type calendarPage struct {
	First, Last, Before, After civil.Month
	Losses                     losses
	Months                     []calendarMonth
	// Date is the one that is chosen, with who loses access on it; nil: none is.
	Date *lossDate
	On   losses
}

// calendarMonth is a month by weeks, which begin on Mondays.
type calendarMonth struct {
	Name  string
	Weeks [][7]calendarDay
}

// calendarDay is a date; the days of a week outside the month have none.
type calendarDay struct {
	Day           int
	Date          civil.Date
	Loss          *lossDate
	Today, Chosen bool
}

// access is the calendar of who loses access.
func (c *Console) access(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	first, past, err := p.accessRange()
	if err != nil {
		return err
	}
	shown := calendarPage{First: first, Last: past - 1, Before: first - accessMonths, After: past}
	access := route("tenants", p.Tenant.ID, "access")
	if err := p.get(&shown.Losses, access, "from", first.First().String(), "to", past.First().String()); err != nil {
		return err
	}
	chosen := civil.NoDate
	if date := p.Query("date"); date != "" {
		if chosen, err = civil.ParseDate(date); err != nil {
			return &problem{Status: http.StatusBadRequest, Title: "No such date", Detail: err.Error()}
		}
		if err := p.get(&shown.On, access, "from", chosen.String(), "to", chosen.Add(1).String(), "limit", "500",
			"after", p.Query("after")); err != nil {
			return err
		}
		shown.Date = &lossDate{Date: chosen}
		if len(shown.On.Dates) > 0 {
			shown.Date = &shown.On.Dates[0]
		}
	}
	for m := first; m < past; m++ {
		shown.Months = append(shown.Months, monthOf(m, shown.Losses.Dates, p.Tenant.Date, chosen))
	}
	p.Trail = append(p.Trail, link{"Management", route("tenants", p.Tenant.ID, "users")})
	p.Command = "apportion registry losing-access --on DATE"
	if shown.Date != nil {
		p.Command = "apportion registry losing-access --on " + chosen.String()
	}
	return p.show("access", "Who loses access", shown)
}

// monthOf draws up a month.
func monthOf(m civil.Month, dates []lossDate, today, chosen civil.Date) calendarMonth {
	of := calendarMonth{Name: m.First().Time().Format("January 2006")}
	for d := m.First(); d < m.Next().First(); d++ {
		weekday := (int(d.Time().Weekday()) + 6) % 7
		if len(of.Weeks) == 0 || weekday == 0 {
			of.Weeks = append(of.Weeks, [7]calendarDay{})
		}
		day := calendarDay{Day: d.Time().Day(), Date: d, Today: d == today, Chosen: d == chosen}
		for i := range dates {
			if dates[i].Date == d {
				day.Loss = &dates[i]
			}
		}
		of.Weeks[len(of.Weeks)-1][weekday] = day
	}
	return of
}

// mapLosing maps all who lose access on a date to one subscription.
func (c *Console) mapLosing(p *page) error {
	form := p.r.PostForm
	body := map[string]any{"users": "losing-access", "on": form.Get("on"), "from": form.Get("from"),
		"subscription": form.Get("subscription"), "activeOnly": true}
	if reason := form.Get("reason"); reason != "" {
		body["reason"] = reason
	}
	return p.give(http.MethodPost, route("tenants", p.r.PathValue("tenant"), "licences:map"), nil, body, p.With())
}

// accessFile is the same twelve months as a file.
func (p *page) accessFile(mediaType, ending string) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	first, past, err := p.accessRange()
	if err != nil {
		return err
	}
	content, err := p.whole(route("tenants", p.Tenant.ID, "access"), mediaType,
		url.Values{"from": {first.First().String()}, "to": {past.First().String()}})
	p.File = &file{"access-" + p.Tenant.ID + "-" + first.String() + "." + ending, mediaType, content}
	return err
}

// file is what is downloaded instead of a page.
type file struct {
	name, mediaType string
	content         []byte
}

func (f *file) write(w http.ResponseWriter) {
	mediaType := f.mediaType
	if strings.HasPrefix(mediaType, "text/") {
		mediaType += "; charset=utf-8"
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.name}))
	w.Write(f.content)
}

// whole returns a list of the API in a form such as CSV, all of its pages in one.
func (p *page) whole(target, mediaType string, query url.Values) ([]byte, error) {
	var content []byte
	query.Set("limit", "500")
	for {
		a, err := p.ask(http.MethodGet, target+"?"+query.Encode(), http.Header{"Accept": {mediaType}}, nil, nil)
		if err != nil {
			return nil, err
		}
		more := a.body.Bytes()
		if content != nil { // it has its head already
			_, more, _ = bytes.Cut(more, []byte("\n"))
		}
		content = append(content, more...)
		after := nextOf(a.header.Get("Link"))
		if after == "" || mediaType != "text/csv" {
			return content, nil
		}
		query.Set("after", after)
	}
}

// nextOf returns the cursor of the next page that a header Link has, "" on the last.
func nextOf(header string) string {
	_, target, _ := bytes.Cut([]byte(header), []byte("<"))
	target, _, _ = bytes.Cut(target, []byte(">"))
	u, err := url.Parse(string(target))
	if err != nil {
		return ""
	}
	return u.Query().Get("after")
}
