package fonts

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
)

// written returns the text of lines, in the order of the page.
func written(lines []Line) string {
	var all []string
	for _, l := range lines {
		var b strings.Builder
		for _, r := range l.Runs {
			for _, g := range r.Glyphs {
				b.WriteString(r.Font.Text(g.Code))
			}
		}
		all = append(all, b.String())
	}
	return strings.Join(all, "|")
}

func set(t *testing.T) *Set {
	s := NewSet()
	t.Cleanup(s.Close)
	return s
}

// TestFaces: each script has a face, and what none has is the box of the face of the text.
func TestFaces(t *testing.T) {
	for text, want := range map[string]string{
		"Å Ω Я ₫ −": "Inter-Regular", "سلام": "NotoSansArabic-Regular", "שלום": "NotoSansHebrew-Regular", "สวัสดี": "NotoSansThai-Regular",
		"नमस्ते": "NotoSansDevanagari-Regular", "漢字かな한글": "DroidSansFallback", "🚀👩‍💻": "NotoEmoji-Regular", "ქ": "Inter-Regular",
	} {
		for _, run := range set(t).Lines(text, Regular, 100*Em)[0].Runs {
			if !strings.HasSuffix(run.Font.Name(), "+"+want) {
				t.Errorf("%s is in %s, want %s", text, run.Font.Name(), want)
			}
			for _, g := range run.Glyphs {
				missing := run.Font.uses[g.Code].glyph == 0
				if missing != (text == "ქ") {
					t.Errorf("%s: a missing glyph is %v", text, missing)
				}
			}
		}
	}
	if outline := faces[0].load().glyf.glyph(0); len(outline) == 0 {
		t.Error("the box for a missing character draws nothing")
	}
}

func TestLines(t *testing.T) {
	s := set(t)
	for _, c := range []struct {
		text, want string
		ems        int
	}{
		{"one two three", "one two |three", 5}, {"Donaudampfschiff", "Donaud|ampfsc|hiff", 4}, {"東京東京東京", "東京東|京東京", 3}, {"a\r\nb\u2028c\td", "a  b c d", 9},
		{"  ", "", 9}, {"", "", 9}, {"שלום abc", "abc םולש", 9}, {"a->b", "a->b", 9},
	} {
		lines := s.Lines(c.text, Regular, c.ems*Em)
		if got := written(lines); got != c.want {
			t.Errorf("%q in %d ems: %q, want %q", c.text, c.ems, got, c.want)
		}
		for _, l := range lines {
			if l.Width > c.ems*Em {
				t.Errorf("%q: a line is %d wide, and may be %d", c.text, l.Width, c.ems*Em)
			}
		}
	}
	if w := s.Lines("1111", Figures, 9*Em)[0].Width; w != s.Lines("8888", Figures, 9*Em)[0].Width {
		t.Errorf("figures are of different widths")
	}
}

// TestPrograms: a cut face has the outlines of its codes, those of what they are put together from included.
func TestPrograms(t *testing.T) {
	s := set(t)
	s.Lines("Ångström é ǘ ﷺ", Regular, 99*Em)
	s.Lines("Aé 한글 漢字 हिन्दी क्षेत्र น้ำ سلام 🚀 שלום", SemiBold, 99*Em)
	if len(s.Fonts()) != 8 {
		t.Errorf("%d fonts", len(s.Fonts()))
	}
	for _, f := range s.Fonts() {
		program := f.Program()
		loader, err := opentype.NewLoader(bytes.NewReader(program))
		if err != nil {
			t.Fatal(f.Name(), err)
		}
		cut, err := readOutlines(loader)
		if err != nil {
			t.Fatal(f.Name(), err)
		}
		glyphs := len(cut.loca)/4 - 1
		if glyphs < f.Codes() {
			t.Errorf("%s: %d glyphs for %d codes", f.Name(), glyphs, f.Codes())
		}
		for g := range glyphs {
			outline := cut.glyph(font.GID(g))
			eachPart(bytes.Clone(outline), func(part []byte) {
				if n := int(part[0])<<8 | int(part[1]); n >= glyphs || len(cut.glyph(font.GID(n))) == 0 {
					t.Errorf("%s: glyph %d has a part %d that is not there", f.Name(), g, n)
				}
			})
			if g >= f.Codes() {
				continue
			}
			u := f.uses[g]
			if whole := f.face.glyf.glyph(u.glyph); len(outline) < len(whole) || len(outline) > len(whole)+3 {
				t.Errorf("%s: the outline of %q has %d bytes, and %d in the face", f.Name(), u.text, len(outline), len(whole))
			}
			if advance, _ := cut.metric(font.GID(g)); f.Width(uint16(g)) != (int(advance)*Em+cut.upem/2)/cut.upem {
				t.Errorf("%s: %q is of another width", f.Name(), u.text)
			}
		}
		if len(program) > 60_000 {
			t.Errorf("%s: %d bytes for %d glyphs", f.Name(), len(program), glyphs)
		}
	}
}

// FuzzLines: no text stops the program, goes beyond the width, or loses a character.
func FuzzLines(f *testing.F) {
	for _, text := range []string{"a", "שלום (abc) 12", "हिन्दी", "👩‍💻👩‍💻", "\xff\u202e\u2067x", "한글漢字 ﷺ", strings.Repeat("é", 50)} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, ems int) {
		if len(text) > 400 {
			return
		}
		s := NewSet()
		defer s.Close()
		ems = 4 + (ems&0xff)%40
		count := map[rune]int{}
		for _, l := range s.Lines(text, SemiBold, ems*Em) {
			for _, r := range l.Runs {
				for _, g := range r.Glyphs {
					for _, c := range r.Font.Text(g.Code) {
						count[c]++
					}
				}
			}
		}
		for _, c := range text {
			if unicode.IsGraphic(c) && !unicode.IsSpace(c) {
				if count[c]--; count[c] < 0 {
					t.Errorf("%q lost %q", text, c)
				}
			}
		}
		for _, font := range s.Fonts() {
			font.Program()
		}
	})
}
