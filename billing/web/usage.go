package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas/civil"
)

// usageRoutes registers the routes of usage, concurrency and overage.
func (s *Server) usageRoutes() {
	register(s, route{ID: "listUsage", Method: http.MethodGet, Path: "/tenants/{tenant}/usage", Tag: "Usage",
		Summary: "Usage of a tenant, by day or month, meter and subscription",
		Description: "Of each meter there is a row of the tenant as a whole, without a subscription, and one of each " +
			"subscription with usage. A month has the dates within the range alone: its peak is the greatest of the dates, " +
			"and an agent is counted once.",
		Types: []string{"text/csv"}}, s.listUsage)
	register(s, route{ID: "getConcurrency", Method: http.MethodGet, Path: "/tenants/{tenant}/concurrency", Tag: "Usage",
		Summary: "Concurrency and pool of a tenant over some dates (R13, R14)"}, s.getConcurrency)
	register(s, route{ID: "getLive", Method: http.MethodGet, Path: "/tenants/{tenant}/live", Tag: "Usage",
		Summary: "What a tenant has live now, the pool, and the peak of today (R12-R14)"}, s.getLive)
	register(s, route{ID: "getOverage", Method: http.MethodGet, Path: "/tenants/{tenant}/periods/{period}/overage",
		Tag: "Usage", Summary: "What a tenant used of its pool at the peak of a period, and who pays the overage (R15, R16)",
		Description: "Of an issued period by what the issue was based on, else as it stands, at the peak that the daily " +
			"figures have. Who was live is left out for those who may not see agents.",
		Heavy: true}, s.getOverage)
}

// tenantNow returns a tenant within the scope, with the registry as it stands.
func (s *Server) tenantNow(
	ctx context.Context, scope access.Scope, path TenantPath,
) (state registry.State, t *registry.Tenant, err error) {
	if _, err = path.of(scope); err != nil {
		return state, nil, err
	}
	if state, err = s.Registry.CatchUp(ctx); err != nil {
		return state, nil, err
	}
	t, err = path.tenantOf(scope, state)
	return state, t, err
}

// DatesInput is a range of dates.
type DatesInput struct {
	From string `query:"from" format:"date" doc:"The first date, in the tenant's zone."`
	To   string `query:"to" format:"date" doc:"The date after the last."`
}

// dates reads the range; a date that is not given is [civil.NoDate].
func (in DatesInput) dates() (from, to civil.Date, err error) {
	if from, err = dateOf("from", in.From); err != nil {
		return from, to, err
	}
	if to, err = dateOf("to", in.To); err != nil {
		return from, to, err
	}
	if from != civil.NoDate && to != civil.NoDate && from >= to {
		return from, to, badRequest("to", in.To, "to is the date after the last, so it is later than from")
	}
	return from, to, nil
}

// dateOf reads a date of a parameter.
func dateOf(name, text string) (civil.Date, error) {
	if text == "" {
		return civil.NoDate, nil
	}
	date, err := civil.ParseDate(text)
	if err != nil {
		return civil.NoDate, badRequest(name, text, name+" must be a date: "+err.Error())
	}
	return date, nil
}

type listUsageInput struct {
	TenantPath
	ListInput
	DatesInput
	Meter        string `query:"meter" maxLength:"200" doc:"Of this meter alone, such as agent_standard or connect.sms."`
	Subscription string `query:"subscription" maxLength:"64" doc:"Of this subscription alone."`
	By           string `query:"by" enum:"day,month" default:"day" doc:"How long a row is."`
}

type usageOutput struct {
	Link string `header:"Link" doc:"The next page, where there is one."`
	Body UsagePage
}

// UsagePage is some of the usage of a tenant, and how current it is.
type UsagePage struct {
	Page[service.UsageFigure]
	AsOf service.AsOf `json:"asOf"`
}

func (s *Server) listUsage(ctx context.Context, scope access.Scope, in *listUsageInput) (*usageOutput, error) {
	from, to, err := in.dates()
	if err != nil {
		return nil, err
	}
	after, err := readingAfter(&in.ListInput)
	if err != nil {
		return nil, err
	}
	_, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	usage, asOf, err := s.Figures.Usage(ctx, t, service.UsageRequest{From: from, To: to, ByMonth: in.By == "month",
		Meter: in.Meter, Subscription: in.Subscription, After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	page := pageOf(&in.ListInput, usage, func(u service.UsageFigure) string {
		key := u.Key()
		return keyOf(fmt.Sprint(key.At), key.Meter, key.Subscription)
	})
	return &usageOutput{page.Link, UsagePage{page.Body, asOf}}, nil
}

// readingAfter reads the key of a cursor.
func readingAfter(in *ListInput) (key aggregate.ReadingKey, err error) {
	parts, err := in.keyParts(3)
	if err != nil || parts == nil {
		return aggregate.BeforeReadings, err
	}
	key.Meter, key.Subscription = parts[1], parts[2]
	key.At, err = keyNumber(parts[0])
	return key, err
}

// steps are how long the steps of concurrency may be.
var steps = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "10m": 10 * time.Minute,
	"15m": 15 * time.Minute, "30m": 30 * time.Minute, "1h": time.Hour}

// mostDates and mostPoints are how many dates and points an answer on concurrency has at the most.
const (
	mostDates  = 31
	mostPoints = 250_000
)

type concurrencyInput struct {
	TenantPath
	DatesInput
	Meter string `query:"meter" enum:"agent_standard,agent_premium,ivr_port" default:"agent_standard" doc:"Of this meter."`
	By    string `query:"by" enum:"tenant,subscription" default:"tenant" doc:"The tenant, or each subscription."`
	Step  string `query:"step" enum:"1m,5m,10m,15m,30m,1h" default:"10m" doc:"How long a step is."`
}

type concurrencyOutput struct{ Body service.Concurrency }

func (s *Server) getConcurrency(
	ctx context.Context, scope access.Scope, in *concurrencyInput,
) (*concurrencyOutput, error) {
	from, to, err := in.dates()
	if err != nil {
		return nil, err
	}
	_, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	days, series := 1, 1
	if from != civil.NoDate && to != civil.NoDate {
		days = int(to - from)
	}
	if in.By == "subscription" {
		series = len(t.Subscriptions)
	}
	if days > mostDates {
		return nil, badRequest("to", in.To,
			fmt.Sprintf("that are %d dates, and an answer has %d at the most", days, mostDates))
	}
	step := steps[in.Step]
	if points := days * int(25*time.Hour/step) * series; points > mostPoints {
		return nil, badRequest("step", in.Step, fmt.Sprintf("that are %d points, and an answer has %d at the most: "+
			"ask for fewer dates, or for longer steps", points, mostPoints))
	}
	c, err := s.Figures.Concurrency(ctx, t, service.ConcurrencyRequest{
		From: from, To: to, Meter: in.Meter, BySubscription: in.By == "subscription", Step: step})
	if err != nil {
		return nil, err
	}
	return &concurrencyOutput{*c}, nil
}

type liveOutput struct{ Body service.Live }

func (s *Server) getLive(ctx context.Context, scope access.Scope, in *TenantPath) (*liveOutput, error) {
	state, t, err := s.tenantNow(ctx, scope, *in)
	if err != nil {
		return nil, err
	}
	live, err := s.Figures.Live(ctx, state, t)
	if err != nil {
		return nil, err
	}
	return &liveOutput{*live}, nil
}

// PeriodPath is the period that a path names.
type PeriodPath struct {
	Period monthText `path:"period" doc:"A month, such as 2026-10."`
}

// month reads the period.
func (p PeriodPath) month() (civil.Month, error) {
	return monthOf("period", p.Period)
}

type getOverageInput struct {
	TenantPath
	PeriodPath
}

type overageOutput struct{ Body service.PeriodOverage }

func (s *Server) getOverage(ctx context.Context, scope access.Scope, in *getOverageInput) (*overageOutput, error) {
	period, err := in.month()
	if err != nil {
		return nil, err
	}
	state, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	overage, err := s.Figures.Overage(ctx, state, t, period)
	if err != nil {
		return nil, err
	}
	if !scope.SeesAgents() {
		for n := range overage.Meters {
			overage.Meters[n].LeaveOutAgents()
		}
	}
	return &overageOutput{*overage}, nil
}
