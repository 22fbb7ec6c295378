package console

import (
	"net/http"
	"strings"

	"apportion/schemas/civil"
)

// moneyStyles are of the pages on invoices and periods.
var moneyStyles = []string{"money.css"}

func (c *Console) invoiceScreens() []screen {
	return []screen{
		{path: "/invoices", needs: "listInvoices", show: c.invoices},
		{path: "/invoices/{invoice}", needs: "getInvoice", show: c.invoice},
		{path: "/invoices/{invoice}/as/{form}", needs: "getInvoice", show: c.invoiceFile},
		{path: "/invoices/{invoice}/lines/{line}", needs: "getExplanation", show: c.line, send: c.verifyLine},
	}
}

// invoiceHead is an invoice as GET /invoices has it.
type invoiceHead struct {
	ID           string      `json:"invoiceId"`
	Tenant       string      `json:"tenantId"`
	Subscription string      `json:"subscriptionId"`
	Period       civil.Month `json:"period"`
	IssueDate    civil.Date  `json:"issueDate"`
	DueDate      *civil.Date `json:"dueDate"`
	Lines        int         `json:"lines"`
	Totals       totals      `json:"totals"`
}

// invoice is an invoice as GET /invoices/{invoice} has it, or a draft of one.
type invoice struct {
	ID               string        `json:"invoiceId"`
	Tenant           string        `json:"tenantId"`
	Subscription     string        `json:"subscriptionId"`
	SubscriptionName string        `json:"subscriptionName"`
	Period           civil.Month   `json:"period"`
	IssueDate        string        `json:"issueDate"`
	Currency         string        `json:"currency"`
	Net              string        `json:"net"`
	Tax              string        `json:"tax"`
	Gross            string        `json:"gross"`
	Taxes            []tax         `json:"taxes"`
	Lines            []invoiceLine `json:"lines"`
}

// tax is what an invoice has of one category and rate (R26).
type tax struct {
	Category string `json:"category"`
	Rate     string `json:"rate"`
	Reason   string `json:"reason"`
	Net      string `json:"net"`
	Tax      string `json:"tax"`
}

// invoiceLine is a line of an invoice; Invoice is set where it stands by itself.
type invoiceLine struct {
	Invoice      string      `json:"invoiceId"`
	No           int         `json:"lineNo"`
	Kind         string      `json:"kind"`
	Meter        string      `json:"meter"`
	Quantity     string      `json:"quantity"`
	Unit         string      `json:"unit"`
	UnitPrice    string      `json:"unitPrice"`
	Amount       string      `json:"amount"`
	From         civil.Date  `json:"from"`
	To           civil.Date  `json:"to"`
	PeakAt       string      `json:"peakAt"`
	Entitled     *int64      `json:"entitled"`
	Pool         []poolPoint `json:"pool"`
	Corrects     string      `json:"corrects"`
	CorrectsKind string      `json:"correctsKind"`
	TaxCategory  string      `json:"taxCategory"`
	TaxRate      string      `json:"taxRate"`
	Note         string      `json:"note"`
}

// Charged are the lines that an invoice charges or credits, and Split those that say how usage is split (R18).
func (i *invoice) Charged() []invoiceLine { return i.lines(false) }

// Split are the lines that say how usage is split.
func (i *invoice) Split() []invoiceLine { return i.lines(true) }

func (i *invoice) lines(usage bool) (some []invoiceLine) {
	for _, l := range i.Lines {
		if (l.Kind == "usage") == usage {
			some = append(some, l)
		}
	}
	return some
}

// Corrections are the lines that correct what was issued before (R21).
func (i *invoice) Corrections() (some []invoiceLine) {
	for _, l := range i.Lines {
		if l.Corrects != "" {
			some = append(some, l)
		}
	}
	return some
}

// Overages are the lines that have a picture of the pool around their peak.
func (i *invoice) Overages() (some []invoiceLine) {
	for _, l := range i.Lines {
		if len(l.Pool) > 0 {
			some = append(some, l)
		}
	}
	return some
}

// Last is the last date of a line.
func (l invoiceLine) Last() civil.Date { return max(l.From, l.To.Add(-1)) }

// CorrectedInvoice is the invoice that a line corrects, and CorrectedLine the line of it, if it is one.
func (l invoiceLine) CorrectedInvoice() string {
	id, _, _ := strings.Cut(l.Corrects, "/")
	return id
}

// CorrectedLine is the line that a line corrects, "" where it adds to an invoice that had none.
func (l invoiceLine) CorrectedLine() string {
	_, no, _ := strings.Cut(l.Corrects, "/")
	return no
}

// address is a postal address.
type address struct {
	Street   string `json:"street"`
	City     string `json:"city"`
	Postcode string `json:"postcode"`
	Country  string `json:"country"`
}

// party is who sells or buys.
type party struct {
	Name           string  `json:"name"`
	Address        address `json:"address"`
	VATID          string  `json:"vatId"`
	RegistrationID string  `json:"registrationId"`
	Reference      string  `json:"reference"`
	LeitwegID      string  `json:"leitwegId"`
	IBAN           string  `json:"iban"`
	Contact        *struct {
		Name      string `json:"name"`
		Telephone string `json:"telephone"`
		Email     string `json:"email"`
	} `json:"contact"`
}

// Lines are the address of a party with the numbers of a company.
func (p *party) Lines() (lines []string) {
	for _, line := range []struct{ before, text string }{
		{"", p.Address.Street}, {"", strings.TrimSpace(p.Address.Postcode + " " + p.Address.City)}, {"", p.Address.Country},
		{"VAT ", p.VATID}, {"Reg. no. ", p.RegistrationID},
	} {
		if line.text != "" {
			lines = append(lines, line.before+line.text)
		}
	}
	return lines
}

// basis is what an invoice or an explanation is based on.
type basis struct {
	Issued         bool   `json:"issued"`
	Now            string `json:"now"`
	RegistryOffset int64  `json:"registryOffset"`
	Pass           string `json:"pass"`
	Positions      []struct {
		Topic      string `json:"topic"`
		Partition  int    `json:"partition"`
		LastOffset int64  `json:"lastOffset"`
	} `json:"positions"`
	Rules struct {
		OpenSessionHours int `json:"openSessionHours"`
		IVRPortFactor    int `json:"ivrPortFactor"`
		GraceDays        int `json:"graceDays"`
	} `json:"rules"`
	TZVersion string `json:"tzVersion"`
}

// provenance is GET /invoices/{invoice}/provenance.
type provenance struct {
	IssuedAt    string        `json:"issuedAt"`
	AuthType    string        `json:"authType"`
	AuthID      string        `json:"authId"`
	DueDate     *civil.Date   `json:"dueDate"`
	Seller      party         `json:"seller"`
	Buyer       *party        `json:"buyer"`
	Basis       basis         `json:"basis"`
	CorrectedBy []invoiceLine `json:"correctedBy"`
	Files       []struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Size    int    `json:"size"`
		SHA256  string `json:"sha256"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"files"`
}

// invoices lists invoices that are issued.
func (c *Console) invoices(p *page) error {
	var list struct {
		Items []invoiceHead `json:"items"`
		Next  string        `json:"next"`
	}
	if err := p.get(&list, "/invoices", "tenant", p.Query("tenant"), "subscription", p.Query("subscription"),
		"period", p.Query("period"), "after", p.Query("after")); err != nil {
		return err
	}
	p.Command = "apportion bill list"
	if period := p.Query("period"); period != "" {
		p.Command += " --period " + period
	}
	if tenant := p.Query("tenant"); tenant != "" {
		p.Command += " --tenant " + tenant
	}
	return p.show("invoices", "Invoices", list)
}

// shownInvoice is an invoice with what there is to know of it.
type shownInvoice struct {
	invoice
	provenance
}

// invoice shows an invoice as its PDF looks, with what it is based on.
func (c *Console) invoice(p *page) error {
	var shown shownInvoice
	of := route("invoices", p.r.PathValue("invoice"))
	if err := p.get(&shown.invoice, of); err != nil {
		return err
	}
	if err := p.get(&shown.provenance, of+"/provenance"); err != nil {
		return err
	}
	if err := p.ofInvoice(shown.invoice.Tenant, shown.Period); err != nil {
		return err
	}
	p.Command, p.Styles = "apportion explain "+shown.ID, moneyStyles
	return p.show("invoice", shown.ID, &shown)
}

// ofInvoice has the page be one of the tenant and the period of an invoice.
func (p *page) ofInvoice(tenant string, period civil.Month) error {
	p.r.SetPathValue("tenant", tenant)
	if err := p.ofTenant(); err != nil {
		return err
	}
	p.ofPeriod(period)
	return nil
}

// ofPeriod has the trail lead to a period of the tenant.
func (p *page) ofPeriod(period civil.Month) {
	base := route("tenants", p.Tenant.ID, "periods")
	p.Trail = append(p.Trail, link{"Periods", base}, link{period.String(), base + "/" + period.String()})
}

// forms are those of an invoice that a browser keeps as a file, by the ending of its name.
var forms = map[string]string{"pdf": "application/pdf", "xml": "application/vnd.oasis.ubl+xml", "csv": "text/csv",
	"json": "application/json"}

// invoiceFile answers with an invoice in one of its forms.
func (c *Console) invoiceFile(p *page) error {
	id, form := p.r.PathValue("invoice"), p.r.PathValue("form")
	accept, known := forms[form]
	if !known {
		return &problem{Status: http.StatusNotFound, Title: "There is no such form",
			Detail: "An invoice can be had as pdf, xml (UBL), csv and json, and not as " + form + "."}
	}
	return p.download(route("invoices", id), accept, id+"."+form)
}
