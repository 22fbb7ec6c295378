package fonts

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/bidi"
)

// Em is the size of an em in the units of glyphs: 64ths of a thousandth.
const Em = 64_000

// Set is what one document uses of the faces. It is for one goroutine; [Set.Close] gives back what it borrows.
type Set struct {
	engine *engine
	used   [len(faces)]*Font
	fonts  []*Font
}

// Font is what a document uses of one face.
type Font struct {
	// Number counts the fonts of the document from 1, in the order of their first use.
	Number int
	face   *face
	codes  map[use]uint16
	uses   []use
}

// use is a glyph that stands for some text. A glyph that stands for different texts in different places has a code
// for each, so that text copied from the document is what was written.
type use struct {
	glyph font.GID
	text  string
}

// Line is one line of set text.
type Line struct {
	// Width in units of which Em make the size of the type.
	Width int
	Runs  []Run
}

// Run is a part of a line in one font, from left to right.
type Run struct {
	Font   *Font
	Glyphs []Glyph
}

// Glyph is a glyph in its place: Code is its name in the document's font; Advance to the next, and where it stands
// from its own place, right and up, in units of which Em make the size of the type.
type Glyph struct {
	Code         uint16
	Advance      int
	Right, Above int
	// Together is how many glyphs, from this one on, stand only together for Text; 0 where the font's own text says
	// it well enough.
	Together int
	Text     string
}

// NewSet returns a set for a new document.
func NewSet() *Set { return &Set{engine: engines.Get().(*engine)} }

// Close ends the use of the set for text; what it has set stays.
func (s *Set) Close() {
	engines.Put(s.engine)
	s.engine = nil
}

// Fonts returns the fonts used so far.
func (s *Set) Fonts() []*Font { return s.fonts }

var (
	plain = []shaping.FontFeature{{Tag: opentype.MustNewTag("calt"), Value: 0}}
	// Kerning would bring some figures nearer to each other than others.
	figures = []shaping.FontFeature{{Tag: opentype.MustNewTag("calt"), Value: 0},
		{Tag: opentype.MustNewTag("tnum"), Value: 1}, {Tag: opentype.MustNewTag("kern"), Value: 0}}
	english = language.NewLanguage("en")
)

// Lines sets text in lines that are no wider than width, which is in the units of [Line]; words that are wider
// are broken. Line breaks in the text are spaces. Text without a visible character is one empty line.
func (s *Set) Lines(text string, style Style, width int) []Line {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text))
	if text == "" {
		return []Line{{}}
	}
	e, runes := s.engine, []rune(text)
	e.style = style
	direction := paragraph(runes)
	inputs := e.segmenter.Split(shaping.Input{Text: runes, RunEnd: len(runes), Direction: direction,
		Size: fixed.I(Em / 64), Language: english}, e)
	outputs := make([]shaping.Output, len(inputs))
	for i, input := range inputs {
		if input.Face == nil { // white space and controls alone
			input.Face = e.face(style.face())
		}
		if e.number[input.Face.Font] < textFaces {
			// Contextual alternates would draw an arrow for the -> of an id, which is not what was written.
			input.FontFeatures = plain
			if style.figures() {
				input.FontFeatures = figures
			}
		}
		outputs[i] = e.shaper.Shape(input)
	}
	wrapped, _ := e.wrapper.WrapParagraphF(shaping.WrapConfig{Direction: direction}, fixed.Int26_6(width), runes,
		shaping.NewSliceIterator(outputs))
	lines := make([]Line, 0, len(wrapped))
	for _, w := range wrapped {
		slices.SortFunc(w, func(a, b shaping.Output) int { return cmp.Compare(a.VisualIndex, b.VisualIndex) })
		var line Line
		for _, output := range w {
			run := s.run(output, runes)
			for _, g := range run.Glyphs {
				line.Width += g.Advance
			}
			line.Runs = append(line.Runs, run)
		}
		lines = append(lines, line)
	}
	return lines
}

// paragraph returns the direction of the first character that has one.
func paragraph(runes []rune) di.Direction {
	for _, r := range runes {
		p, _ := bidi.LookupRune(r)
		switch p.Class() {
		case bidi.L:
			return di.DirectionLTR
		case bidi.R, bidi.AL:
			return di.DirectionRTL
		}
	}
	return di.DirectionLTR
}

func (s *Set) run(output shaping.Output, runes []rune) Run {
	n := s.engine.number[output.Face.Font]
	f := s.used[n]
	if f == nil {
		f = &Font{Number: len(s.fonts) + 1, face: faces[n], codes: map[use]uint16{}, uses: []use{{}}}
		s.used[n], s.fonts = f, append(s.fonts, f)
	}
	run := Run{Font: f, Glyphs: make([]Glyph, 0, len(output.Glyphs))}
	for rest := output.Glyphs; len(rest) > 0; {
		cluster := rest[:rest[0].GlyphsCount()]
		rest = rest[len(cluster):]
		// The text of a cluster goes with its widest glyph, and the others have none. Where marks without a width are
		// all the others, that is how readers expect it.
		from := cluster[0].TextIndex()
		text := string(runes[from : from+cluster[0].RunesCount()])
		widest, wide := 0, 0
		for i, g := range cluster {
			if g.Advance > cluster[widest].Advance {
				widest = i
			}
			if g.Advance != 0 {
				wide++
			}
		}
		for i, g := range cluster {
			glyph := Glyph{Advance: int(g.Advance), Right: int(g.XOffset), Above: int(g.YOffset)}
			u := use{glyph: g.GlyphID}
			if i == widest {
				u.text = text
			}
			if i == 0 && wide > 1 {
				glyph.Together, glyph.Text = len(cluster), text
			}
			glyph.Code = f.code(u)
			run.Glyphs = append(run.Glyphs, glyph)
		}
	}
	return run
}

func (f *Font) code(u use) uint16 {
	code, ok := f.codes[u]
	if !ok {
		code = uint16(len(f.uses))
		f.codes[u], f.uses = code, append(f.uses, u)
	}
	return code
}
