package servicetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/rogpeppe/go-internal/lockedfile"

	"apportion/deploy/embedded"
)

// browser is a Chromium that runs, which tabs are opened in.
type browser struct {
	ctx  context.Context
	stop func()
}

var chromium shared[*browser]

// browsers are names that Chromium, or what is built from it, has on a PATH.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// findBrowser returns a browser's program. Where there is none, root has Debian's installed, as nobody else can.
func findBrowser() (string, error) {
	for _, name := range browsers {
		if file, err := exec.LookPath(name); err == nil {
			return file, nil
		}
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return "", errors.New("no Chromium is installed: install it, for the tests of pages")
	}
	cache, err := embedded.CacheDir()
	if err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(cache, "chromium.lock")).Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := run("", apt, "update", "-qq"); err != nil {
		return "", err
	}
	err = run("", apt, "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core")
	if err != nil {
		return "", err
	}
	return exec.LookPath("chromium")
}

func startBrowser() (*browser, error) {
	file, err := findBrowser()
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(file), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("force-device-scale-factor", "1"), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("lang", "en-GB"))
	ctx, stopAllocating := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		stop()
		stopAllocating()
		return nil, fmt.Errorf("start %s: %w", file, err)
	}
	return &browser{ctx, func() { stop(); stopAllocating() }}, nil
}

// Tab is a tab of Chromium in which nobody has signed in. It is used by what can be seen on a page. Whatever goes wrong
// there, by the browser's own log, fails the test at its end.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	base string

	mu    sync.Mutex
	wrong []string
}

// patience is how long a test waits for what a page is to do, which takes a moment where nothing is wrong.
const patience = 2 * time.Minute

// NewTab opens a tab on a site, of a Chromium that the tests of a binary share.
func NewTab(t testing.TB, site string) *Tab {
	t.Helper()
	Heavy(t, "it runs Chromium")
	b := chromium.get(t, startBrowser)
	ctx, closeTab := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	tab := &Tab{t: t, ctx: ctx, base: site}
	t.Cleanup(func() {
		closeTab()
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, wrong := range tab.wrong {
			t.Error(wrong)
		}
	})
	must(t, chromedp.Do(ctx))
	must(t, chromedp.Listen(ctx, tab.listen))
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
	} {
		must(t, enable())
	}
	tab.Size(1024, 900)
	return tab
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen notes what a page does wrong: errors of scripts, what the policy of the page's content forbids, and requests
// to other hosts.
func (tab *Tab) listen(event any) {
	var wrong string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		wrong = "a script fails: " + e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork { // an answer of 4xx is no fault
			wrong = "the browser's log: " + e.Entry.Text
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" && u.Scheme != "about" &&
			!strings.HasPrefix(e.Request.URL, tab.base) {
			wrong = "a request to another host: " + e.Request.URL
		}
	}
	if wrong != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.wrong = append(tab.wrong, wrong)
	}
}

// do runs an action, for as long as one may take.
func do[T any](tab *Tab, what string, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		tab.t.Fatalf("%s: %v\n%s", what, err, tab.seen())
	}
	return value
}

// seen is where the tab is and what can be seen there, for a test that failed.
func (tab *Tab) seen() string {
	ctx, cancel := context.WithTimeout(tab.ctx, 10*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	return text
}

// As has all requests carry a token.
func (tab *Tab) As(token string) {
	tab.t.Helper()
	headers := network.Headers{"Authorization": "Bearer " + token}
	_, err := chromedp.Call(tab.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers})
	must(tab.t, err)
}

// Size sets how large the window is, in CSS pixels.
func (tab *Tab) Size(width, height int64) {
	tab.t.Helper()
	do(tab, "size the window", chromedp.EmulateViewport(width, height))
}

// Dark has pages shown dark, or light again.
func (tab *Tab) Dark(dark bool) {
	tab.t.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	_, err := chromedp.Call(tab.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	must(tab.t, err)
}

// Open opens a path of the site and returns the status of the answer.
func (tab *Tab) Open(path string) int64 {
	tab.t.Helper()
	return do(tab, "open "+path, chromedp.NavigateResponse(tab.base+path)).Status
}

// Path is the path that the tab is on, with its query.
func (tab *Tab) Path() string {
	tab.t.Helper()
	return Eval[string](tab, `location.pathname + location.search`)
}

// Text is what can be seen on the page.
func (tab *Tab) Text() string {
	tab.t.Helper()
	return Eval[string](tab, `document.body.innerText`)
}

// Eval returns what an expression of JavaScript has on the page; a promise is waited for.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return do(tab, "evaluate", chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// words is the XPath of what has exactly these words, and can be clicked.
func words(text string) chromedp.Search {
	return chromedp.Search(fmt.Sprintf(
		`//*[self::a or self::button or self::label or self::summary][normalize-space(.)=%q]`, text))
}

// Click clicks what has these words.
func (tab *Tab) Click(text string) {
	tab.t.Helper()
	do(tab, "click "+text, chromedp.Click(words(text)))
}

// Follow clicks what has these words, and waits for the page that it leads to.
func (tab *Tab) Follow(text string) {
	tab.t.Helper()
	do(tab, "follow "+text, chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.Click(words(text))))
}

// Press presses keys; with leads, it waits for the page that they lead to.
func (tab *Tab) Press(keys string, leads bool) {
	tab.t.Helper()
	if press := chromedp.KeyEvent(keys); leads {
		do(tab, "press keys", chromedp.WaitEvent(page.LoadEventFired, nil, press))
	} else {
		do(tab, "press keys", press)
	}
}

// Fill gives the field of a label a value, as somebody who chose it.
func (tab *Tab) Fill(label, value string) {
	tab.t.Helper()
	found := Eval[bool](tab, fmt.Sprintf(`(() => {
		const label = [...document.querySelectorAll("label")].find((l) => l.innerText.trim().startsWith(%q));
		const field = label?.control ?? document.querySelector('[aria-label="' + CSS.escape(%[1]q) + '"]');
		if (!field) return false;
		field.value = %[2]q;
		field.dispatchEvent(new Event("input", {bubbles: true}));
		field.dispatchEvent(new Event("change", {bubbles: true}));
		return field.value === %[2]q;
	})()`, label, value))
	if !found {
		tab.t.Fatalf("no field %q that takes %q\n%s", label, value, tab.seen())
	}
}

// Picture is all of the page as a PNG.
func (tab *Tab) Picture() []byte {
	tab.t.Helper()
	return do(tab, "take a picture", chromedp.FullScreenshot(100))
}

// Inaccessible returns what axe-core finds wrong with the page for people who use it by other means (WCAG 2.2 A and AA,
// and its best practices), a line each; of its rules those alone that are named, all where none is.
func (tab *Tab) Inaccessible(rules ...string) []string {
	tab.t.Helper()
	dir := Node(tab.t)
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	must(tab.t, err)
	if !Eval[bool](tab, `typeof axe !== "undefined"`) {
		Eval[bool](tab, string(script)+";true")
	}
	options := "{}"
	if len(rules) > 0 {
		options = fmt.Sprintf(`{runOnly: ["%s"]}`, strings.Join(rules, `","`))
	}
	return Eval[[]string](tab, `axe.run(`+options+`).then((found) => found.violations.flatMap((v) =>
		v.nodes.map((n) => v.id + " (" + v.help + "): " + n.html + " " + (n.any[0]?.message ?? ""))))`)
}
