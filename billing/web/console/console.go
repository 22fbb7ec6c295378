// Package console serves the pages that people use. It takes requests of browsers, asks the API in the name of whoever
// sent them, in this process and as any program would, and draws what it answers: no page knows more than the API says,
// and none computes money. Who may open a page is who may ask the API for what is on it.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"apportion/billing/web/access"
)

var (
	//go:embed templates
	templateFiles embed.FS
	//go:embed static
	staticFiles embed.FS
)

// Deps are what the console is served with.
type Deps struct {
	// API answers requests under /api/v1, in the name of the one whose request has the context.
	API http.Handler
	// Identity says who sent the request that has a context.
	Identity func(r *http.Request) access.Identity
	// CanSignIn says that there is an issuer to sign in with; else only a link signs in, which is printed at start.
	CanSignIn bool
	Log       *slog.Logger
	Clock     func() time.Time
}

// Console serves pages.
type Console struct {
	Deps
	mux       *http.ServeMux
	templates map[string]*template.Template
	// static has the directory that files of the console are under: it changes with what is in them, so that browsers
	// may keep them for good.
	static string
	// reference is the API's document as it was read last.
	reference atomic.Pointer[apiReference]
}

// screen is a page: its path, the operation of the API without which there is nothing to show, by which it is known who
// may open it, how it is shown, and what is done when one of its forms is sent; nil where it has none.
type screen struct {
	path  string
	needs string
	show  func(p *page) error
	send  func(p *page) error
}

// New returns a console.
func New(deps Deps) *Console {
	c := &Console{Deps: deps, mux: http.NewServeMux()}
	c.static = "/static/" + digest(staticFiles)
	c.templates = c.parse()
	files, _ := fs.Sub(staticFiles, "static")
	c.mux.Handle("GET "+c.static+"/", http.StripPrefix(c.static, kept(http.FileServerFS(files))))
	for _, s := range c.screens() {
		c.mux.HandleFunc("GET "+s.path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, s) })
		if s.send != nil {
			c.mux.HandleFunc("POST "+s.path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, s) })
		}
	}
	c.mux.HandleFunc("/", c.absent)
	return c
}

// Page is a page by its path, as net/http has patterns, and the operation that who opens it may ask for; Sends says
// that it has forms.
type Page struct {
	Path, Needs string
	Sends       bool
}

// Pages are all pages.
func (c *Console) Pages() (all []Page) {
	for _, s := range c.screens() {
		all = append(all, Page{s.path, s.needs, s.send != nil})
	}
	return all
}

// screens are all pages.
func (c *Console) screens() (all []screen) {
	for _, some := range [][]screen{
		c.homeScreens(),
		c.accountScreens(),
		c.tenantScreens(),
		c.userScreens(),
		c.accessScreens(),
		c.usageScreens(),
		c.invoiceScreens(),
		c.periodScreens(),
		c.rejectedScreens(),
		c.tryScreens(),
		c.logScreens(),
		c.pipelineScreens(),
		c.apiScreens(),
		c.referenceScreens(),
	} {
		all = append(all, some...)
	}
	return all
}

// kept lets browsers keep what never changes.
func kept(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // no lists of files
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		next.ServeHTTP(w, r)
	})
}

// digest names what is in some files.
func digest(files fs.FS) string {
	sum := sha256.New()
	fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			content, _ := fs.ReadFile(files, name)
			sum.Write([]byte(name + "\x00"))
			sum.Write(content)
		}
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// policy is what a browser may load for a page, which is only what this server has, and nothing that is written in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP serves a page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	if clean := path.Clean(r.URL.EscapedPath()); r.URL.EscapedPath() != clean {
		c.absent(w, r)
		return
	}
	c.mux.ServeHTTP(w, r)
}

// maxForm is how long the form of a page may be: ten thousand ticked users, or a thousand events.
const maxForm = 8 << 20

// serve shows a page, or does what one of its forms says and shows what became of it.
func (c *Console) serve(w http.ResponseWriter, r *http.Request, s screen) {
	p := c.newPage(r, s)
	if p.Who.Subject == "" {
		c.problemPage(w, p, signInFirst())
		return
	}
	status := http.StatusOK
	if !p.May(s.needs) {
		c.problemPage(w, p, &problem{Status: http.StatusForbidden, Title: "This page is not for you",
			Detail: "What is on it is for other roles.", Advice: "Ask whoever runs Apportion if you need it."})
		return
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			c.problemPage(w, p, &problem{Status: http.StatusBadRequest, Title: "The form cannot be read",
				Detail: err.Error(), Advice: "Go back and send less at once."})
			return
		}
		err := s.send(p)
		var refused *problem
		switch {
		case err == nil && p.to != "":
			http.Redirect(w, r, p.to, http.StatusSeeOther)
			return
		case errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.beside():
			p.Refused, status = refused, refused.Status
		case err != nil:
			c.problemPage(w, p, err)
			return
		}
	}
	if err := p.showDone(); err != nil {
		c.problemPage(w, p, err)
		return
	}
	if err := s.show(p); err != nil {
		c.problemPage(w, p, err)
		return
	}
	if p.File != nil {
		p.File.write(w)
		return
	}
	if p.to != "" {
		http.Redirect(w, r, p.to, http.StatusFound)
		return
	}
	c.write(w, p, status)
}

// write writes a page, whole or not at all.
func (c *Console) write(w http.ResponseWriter, p *page, status int) {
	var b bytes.Buffer
	if err := c.templates[p.template].ExecuteTemplate(&b, "layout", p); err != nil {
		c.Log.Error("a page cannot be drawn", "path", p.r.URL.Path, "error", err)
		http.Error(w, "This page cannot be drawn: a fault of the program, which its log tells of.",
			http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// absent answers for a path that no page has.
func (c *Console) absent(w http.ResponseWriter, r *http.Request) {
	p := c.newPage(r, screen{})
	if p.Who.Subject == "" {
		c.problemPage(w, p, signInFirst())
		return
	}
	c.problemPage(w, p, &problem{Status: http.StatusNotFound, Title: "There is no such page",
		Detail: r.URL.Path + " is no page of the console.", Advice: "Begin at the start page, or use the bar at the top."})
}

// parse reads the templates: each page's own with the layout and the parts that they share.
func (c *Console) parse() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(c.functions()).
		ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html"))
	pages, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, file := range pages {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" {
			continue
		}
		all[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, file))
	}
	return all
}
