package console

import (
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func formatInt[N ~int | ~int32 | ~int64](n N) string { return strconv.FormatInt(int64(n), 10) }

// functions are those that templates call, besides the methods of page.
func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"number":  number,
		"path":    route,
		"rule":    rule,
		"cited":   cited,
		"said":    sentence,
		"code":    func(of any) template.HTML { return code(fmt.Sprint(of)) },
		"list":    func(items ...any) []any { return items },
		"dict":    dict,
		"age":     age,
		"join":    func(items []string) string { return strings.Join(items, ", ") },
		"plural":  plural[int],
		"meter":   meterName,
		"meters":  func() any { return meters },
		"live":    liveName,
		"charged": chargedName,
		"bytes":   bytesOf,
	}
}

// number groups the digits of an amount or quantity as the API writes it, which is exact: nothing is rounded.
func number(v any) string {
	text := fmt.Sprint(v)
	sign, rest := "", text
	if strings.HasPrefix(text, "-") {
		sign, rest = "−", text[1:]
	}
	whole, fraction, isFraction := strings.Cut(rest, ".")
	if whole == "" || strings.Trim(whole, "0123456789") != "" {
		return text
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString("\u202f") // a narrow space that does not break
		}
		b.WriteRune(digit)
	}
	if isFraction {
		b.WriteString("." + fraction)
	}
	return b.String()
}

// rule cites a billing rule, with a link to what it says.
func rule(id string) template.HTML {
	id = template.HTMLEscapeString(id)
	return template.HTML(fmt.Sprintf(`<a class="rule" href="/docs/reference/rules#%s">%s</a>`, strings.ToLower(id), id))
}

// sentence returns words of the API as a sentence.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	return heading(words) + "."
}

// heading returns words of the API as they begin a sentence: with a capital, unless they begin with a name of code.
func heading(words string) string {
	words = strings.TrimSuffix(words, ".")
	name, _, _ := strings.Cut(words, " ")
	other := strings.IndexFunc(strings.TrimSuffix(name, ","), func(r rune) bool { return !unicode.IsLower(r) })
	if other >= 0 || slices.Contains(attributes, name) {
		return words
	}
	first, size := utf8.DecodeRuneInString(words)
	return string(unicode.ToUpper(first)) + words[size:]
}

// rulesIn are the rules that a text cites in brackets at its end, such as (R4, R10).
var rulesIn = regexp.MustCompile(`\(R\d+(, R\d+)*\)`)

// cited returns a text with links from the rules that it cites in brackets.
func cited(text string) template.HTML {
	return template.HTML(rulesIn.ReplaceAllStringFunc(template.HTMLEscapeString(text), func(ids string) string {
		var links []string
		for id := range strings.SplitSeq(strings.Trim(ids, "()"), ", ") {
			links = append(links, string(rule(id)))
		}
		return strings.Join(links, ", ")
	}))
}

// code names a code, with a link to what it means.
func code(of string) template.HTML {
	text := template.HTMLEscapeString(of)
	return template.HTML(fmt.Sprintf(`<a class="code" href="/docs/reference/codes#%s"><code>%[1]s</code></a>`, text))
}

// dict has a part of a template take several values, by name.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes names and values in turn, not %d", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict takes a name first, not %v", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// age says how long ago something was, in milliseconds.
func age(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return plural(int64(d/time.Second), "second", "seconds")
	case d < 2*time.Hour:
		return plural(int64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return plural(int64(d/time.Hour), "hour", "hours")
	}
	return plural(int64(d/(24*time.Hour)), "day", "days")
}

// plural is a number with the word for what is counted.
func plural[N ~int | ~int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// bytesOf says how long a file is.
func bytesOf(n int) string {
	if n < 10_000 {
		return number(n) + " B"
	}
	return number((n+512)/1024) + " KiB"
}
