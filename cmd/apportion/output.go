package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// print writes a command's result to stdout: with --json the value, else what show writes for people. Numbers
// that must be exact are strings or integers in the value.
func (a *app) print(value any, show func(w io.Writer)) error {
	var b bytes.Buffer
	if a.json {
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			return err
		}
	} else {
		show(&b)
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// tableStyle has columns and a header but no lines, so that a table can be read by cut and awk as well.
var tableStyle = func() table.Style {
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	style.Format.Header = text.FormatDefault
	return style
}()

// writeTable writes a table for people, its header left out when nil. The numbered columns, counted from 1, are
// those of numbers, which are aligned to the right.
func writeTable(w io.Writer, header []string, rows [][]string, right ...int) {
	t := table.NewWriter()
	t.SetStyle(tableStyle)
	t.SuppressTrailingSpaces()
	var columns []table.ColumnConfig
	for _, n := range right {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	if header != nil {
		t.AppendHeader(cells(header))
	}
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	fmt.Fprintln(w, t.Render())
}

func cells(values []string) table.Row {
	row := make(table.Row, len(values))
	for i, v := range values {
		row[i] = v
	}
	return row
}

// orEmpty returns a list that JSON shows as [] where it is nil.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// csvFlag gives a command that prints a list the flag that prints it as CSV.
func csvFlag(cmd *cobra.Command, asCSV *bool) {
	cmd.Flags().BoolVar(asCSV, "csv", false, "print the list as CSV")
}

// printCSV writes a list to stdout as CSV, its header first.
func (a *app) printCSV(header []string, rows [][]string) error {
	w := csv.NewWriter(a.stdout)
	if err := w.Write(header); err != nil {
		return err
	}
	return w.WriteAll(rows)
}

// progress shows on stderr how far a long step has come: a bar on a terminal, elsewhere a line every ten
// seconds and one at the end, which of a command that runs until it is interrupted are in its log.
type progress struct {
	a     *app
	what  string
	bar   *progressbar.ProgressBar // nil without a terminal
	done  int64
	total int64 // -1 where it is not known
	start time.Time
	said  time.Time
}

// progress begins a step of so many records, or of -1 where that is not known.
func (a *app) progress(what string, total int64) *progress {
	p := &progress{a: a, what: what, total: total, start: time.Now(), said: time.Now()}
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetDescription(what),
			progressbar.OptionSetWriter(f),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	return p
}

// set says how many records are done.
func (p *progress) set(done int64) {
	p.done = done
	if p.bar != nil {
		p.bar.Set64(done)
		return
	}
	if now := time.Now(); now.Sub(p.said) >= 10*time.Second {
		p.said = now
		if p.a.lasting {
			p.a.log.Info(p.what, "done", done)
			return
		}
		of := ""
		if p.total >= 0 {
			of = fmt.Sprintf(" of %d", p.total)
		}
		fmt.Fprintf(p.a.stderr, "%s: %d%s\n", p.what, p.done, of)
	}
}

// end closes the step with a line that says what it came to.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Finish()
	}
	if p.a.lasting {
		p.a.log.Info(p.what, "done", p.done, "took", time.Since(p.start))
		return
	}
	fmt.Fprintf(p.a.stderr, "%s: %d in %s\n", p.what, p.done, time.Since(p.start).Round(10*time.Millisecond))
}

// plural returns a number with the word that goes with it: 1 delivery, 2 deliveries.
func plural(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + several
}
