package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"apportion/billing"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
)

// The forms of an invoice.
const (
	typeJSON = "application/json"
	typePDF  = "application/pdf"
	typeUBL  = "application/vnd.oasis.ubl+xml"
	typeXML  = "application/xml" // the same
	typeCSV  = "text/csv"
)

// invoiceRoutes registers the routes of invoices, their lines and what explains them.
func (s *Server) invoiceRoutes() {
	const invoice, line = "/invoices/{invoice}", "/invoices/{invoice}/lines/{line}"
	conflict := []int{http.StatusConflict}
	register(s, route{ID: "listInvoices", Method: http.MethodGet, Path: "/invoices", Tag: "Invoices",
		Summary: "Issued invoices, by period, tenant and subscription", Types: []string{typeCSV}, Errors: conflict},
		s.listInvoices)
	content := map[string]*huma.MediaType{typeJSON: {
		Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[billing.InvoiceJSON](), true, "")}}
	for _, t := range []string{typePDF, typeUBL, typeXML, typeCSV} {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	register(s, route{ID: "getInvoice", Method: http.MethodGet, Path: invoice, Tag: "Invoices",
		Summary: "An issued invoice, as JSON, as PDF, as UBL, or its lines as CSV",
		Description: "The bytes are those of the invoice's files, and the same whenever it is asked for. An e-invoice or a " +
			"PDF that cannot be made is a conflict, with what is missing.",
		Types: []string{typePDF, typeUBL, typeXML, typeCSV}, Response: content,
		Errors: []int{http.StatusNotModified, http.StatusConflict}}, s.getInvoice)
	register(s, route{ID: "getProvenance", Method: http.MethodGet, Path: invoice + "/provenance", Tag: "Invoices",
		Summary: "Between whom an issued invoice is, what it is based on, what corrects it, and its files with SHA-256"},
		s.getProvenance)
	register(s, route{ID: "getExplanation", Method: http.MethodGet, Path: line + "/explanation", Tag: "Invoices",
		Summary: "How a line came about, down to the deliveries", Heavy: true, Errors: conflict,
		Description: "An issued line is explained by what its issue was based on, whatever has come in since; that of a " +
			"period which is not issued by a draft."}, s.getExplanation)
	register(s, route{ID: "verifyLine", Method: http.MethodPost, Path: line + "/verify", Tag: "Invoices",
		Summary: "Work a line out again from the deliveries and the registry alone", Heavy: true, Errors: conflict},
		s.verifyLine)
	register(s, route{ID: "getEvidence", Method: http.MethodGet, Path: invoice + "/evidence/{file}", Tag: "Invoices",
		Summary: "The usage behind an issued invoice, as Parquet", Heavy: true, Types: []string{typeParquet},
		Description: "deliveries.parquet has every delivery of the events of the period, as far as the invoice knew them; " +
			"daily.parquet the figures of each date, meter and subscription, as they are now.",
		Response: map[string]*huma.MediaType{typeParquet: {
			Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}, s.getEvidence)
}

type listInvoicesInput struct {
	ListInput
	Tenant       string    `query:"tenant" maxLength:"200" doc:"Only those of this tenant."`
	Subscription string    `query:"subscription" maxLength:"200" doc:"Only those of this subscription."`
	Period       monthText `query:"period" doc:"Only those of this month, such as 2026-10."`
}

func (s *Server) listInvoices(
	ctx context.Context, scope access.Scope, in *listInvoicesInput,
) (*listOutput[billing.ListedInvoice], error) {
	tenants, everyone := scope.Tenants(in.Tenant)
	ask := service.ListRequest{Tenants: tenants, Subscription: in.Subscription, Limit: in.Limit + 1}
	var err error
	if ask.Period, err = monthOf("period", in.Period); err != nil {
		return nil, err
	}
	after, err := in.keyParts(3)
	if err != nil {
		return nil, err
	}
	if after != nil {
		if ask.After.Period, err = keyMonth(after[0]); err != nil {
			return nil, err
		}
		ask.After.Tenant, ask.After.Subscription = after[1], after[2]
	}
	var list []billing.ListedInvoice
	if len(tenants) > 0 || everyone {
		if list, err = s.Invoices.ListPage(ctx, ask); err != nil {
			return nil, err
		}
	}
	return pageOf(&in.ListInput, list, func(i billing.ListedInvoice) string {
		return keyOf(i.Period.String(), i.Tenant, i.Subscription)
	}), nil
}

// InvoicePath is the invoice that a path names.
type InvoicePath struct {
	Invoice string `path:"invoice" maxLength:"300" doc:"The invoice's id, such as INV-Sub100001-202610."`
}

// name returns the invoice, if its tenant is within the scope. Whoever may not see it learns nothing of it: there is no
// such invoice, in the same words.
func (p InvoicePath) name(ctx context.Context, s *Server, scope access.Scope) (billing.InvoiceName, error) {
	name, err := billing.ParseInvoiceID(p.Invoice)
	if err != nil {
		return name, p.none()
	}
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return name, err
	}
	owner := state.Owner(name.Subscription)
	if owner == nil {
		return name, p.none()
	}
	if _, ok := scope.Tenant(owner.ID); !ok {
		return name, p.none()
	}
	return name, nil
}

func (p InvoicePath) none() *Problem {
	return newProblem(http.StatusNotFound, schemas.NoInvoice, "there is no invoice "+p.Invoice+" that you may see")
}

// issued returns the invoice, if it is issued and within the scope.
func (p InvoicePath) issued(ctx context.Context, s *Server, scope access.Scope) (of service.IssuedInvoice, err error) {
	name, err := p.name(ctx, s, scope)
	if err != nil {
		return of, err
	}
	of, err = s.Invoices.FindIssued(ctx, name)
	var cannot *service.Error
	if errors.As(err, &cannot) && cannot.Code == schemas.NotIssued {
		return of, p.none()
	}
	return of, err
}

type getInvoiceInput struct {
	InvoicePath
	Accept      string `header:"Accept" hidden:"true"`
	IfNoneMatch string `header:"If-None-Match"`
}

type invoiceOutput struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag" doc:"The SHA-256 of the bytes."`
	Vary        string `header:"Vary"`
	Body        []byte
}

func (s *Server) getInvoice(ctx context.Context, scope access.Scope, in *getInvoiceInput) (*invoiceOutput, error) {
	of, err := in.issued(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	out := &invoiceOutput{Vary: "Accept",
		ContentType: preferred(in.Accept, typeJSON, typePDF, typeUBL, typeXML, typeCSV)}
	if out.Body, err = contentOf(of, out.ContentType); err != nil {
		return nil, err
	}
	out.ETag = hashTag(out.Body)
	if matches(in.IfNoneMatch, out.ETag) {
		return nil, notModified(out.ETag)
	}
	return out, nil
}

// preferred returns the media type that an Accept header asks for most, the first named of those it asks for alike; the
// first of all where it asks for none in particular.
func preferred(accept string, types ...string) string {
	best, most := types[0], ""
	for _, entry := range strings.Split(accept, ",") {
		name, parameters, _ := strings.Cut(entry, ";")
		quality := "1" // such texts, without zeros at the end, are in the order of their numbers
		for _, parameter := range strings.Split(parameters, ";") {
			if q, is := strings.CutPrefix(strings.TrimSpace(parameter), "q="); is {
				quality = strings.TrimRight(q, "0.")
			}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if slices.Contains(types, name) && quality > most {
			best, most = name, quality
		}
	}
	return best
}

// LinePath is the line that a path names.
type LinePath struct {
	InvoicePath
	Line int `path:"line" minimum:"1" doc:"The number of the line."`
}

type getExplanationInput struct {
	LinePath
	AsOf string `query:"asOf" format:"date-time" doc:"Counts as now (R12) where the period is not issued; by default now."`
}

type explanationOutput struct{ Body *service.Explained }

func (s *Server) getExplanation(
	ctx context.Context, scope access.Scope, in *getExplanationInput,
) (*explanationOutput, error) {
	ask := service.ExplainRequest{Line: in.Line}
	var err error
	if ask.NowMS, err = instantOf("asOf", in.AsOf, s.Clock); err != nil {
		return nil, err
	}
	if ask.Invoice, err = in.name(ctx, s, scope); err != nil {
		return nil, err
	}
	explained, err := s.Invoices.Explain(ctx, ask)
	if err != nil {
		return nil, err
	}
	if !scope.SeesAgents() {
		explained.Explanation.LeaveOutAgents()
	}
	return &explanationOutput{explained}, nil
}

type verificationOutput struct{ Body service.Verification }

func (s *Server) verifyLine(ctx context.Context, scope access.Scope, in *LinePath) (*verificationOutput, error) {
	name, err := in.name(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	explained, err := s.Invoices.Explain(ctx, service.ExplainRequest{Invoice: name, Line: in.Line, Verify: true,
		NowMS: s.Clock().UnixMilli()})
	if err != nil {
		return nil, err
	}
	return &verificationOutput{explained.Verdict()}, nil
}

const typeParquet = "application/vnd.apache.parquet"

type getEvidenceInput struct {
	InvoicePath
	File string `path:"file" maxLength:"100" doc:"deliveries.parquet or daily.parquet."`
}

type evidenceOutput struct {
	Disposition string `header:"Content-Disposition"`
	Body        func(huma.Context)
}

func (s *Server) getEvidence(ctx context.Context, scope access.Scope, in *getEvidenceInput) (*evidenceOutput, error) {
	of, err := in.issued(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	if in.File != service.EvidenceDeliveries && in.File != service.EvidenceDaily {
		return nil, notFound("file", in.File)
	}
	out := &evidenceOutput{Disposition: "attachment; filename=" + strconv.Quote(in.Invoice+"-"+in.File)}
	out.Body = func(c huma.Context) {
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", typeParquet)
		answer := &begun{Writer: w}
		if err := s.Evidence(ctx, answer, of, in.File, scope.SeesAgents()); err != nil {
			p := s.logged(ctx, err)
			if answer.any { // nothing else tells the caller that it is not whole
				panic(http.ErrAbortHandler)
			}
			w.Header().Del("Content-Disposition")
			writeProblem(w, r, p)
		}
	}
	return out, nil
}

// begun is an answer that notes whether any of it is sent.
type begun struct {
	io.Writer
	any bool
}

func (b *begun) Write(content []byte) (int, error) {
	b.any = true
	return b.Writer.Write(content)
}
