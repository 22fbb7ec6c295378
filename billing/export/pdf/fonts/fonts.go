// Package fonts sets text of any script for PDF: it chooses a face for each character, shapes and wraps the text,
// and cuts out of the faces what a document uses. The faces are embedded here; the text comes from the invoices of
// billing/export/pdf, which puts the lines on its pages and the cut faces into its files.
package fonts

import (
	"bytes"
	_ "embed"
	"sync"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/shaping"
)

var (
	//go:embed Inter-Regular.ttf
	interRegular []byte
	//go:embed Inter-SemiBold.ttf
	interSemiBold []byte
	//go:embed NotoSansArabic-Regular.ttf
	notoArabic []byte
	//go:embed NotoSansHebrew-Regular.ttf
	notoHebrew []byte
	//go:embed NotoSansThai-Regular.ttf
	notoThai []byte
	//go:embed NotoSansDevanagari-Regular.ttf
	notoDevanagari []byte
	//go:embed DroidSansFallback.ttf
	droidFallback []byte
	//go:embed NotoEmoji-Regular.ttf
	notoEmoji []byte
)

// The two faces of the text, and then the order in which the others are asked for a character that it lacks.
var faces = [...]*face{
	{name: "Inter-Regular", data: interRegular},
	{name: "Inter-SemiBold", data: interSemiBold},
	{name: "NotoSansArabic-Regular", data: notoArabic},
	{name: "NotoSansHebrew-Regular", data: notoHebrew},
	{name: "NotoSansThai-Regular", data: notoThai},
	{name: "NotoSansDevanagari-Regular", data: notoDevanagari},
	{name: "DroidSansFallback", data: droidFallback},
	{name: "NotoEmoji-Regular", data: notoEmoji},
}

const textFaces = 2 // how many of faces are faces of the text

// Style chooses the face of the text, and how it draws figures. The other scripts have one style.
type Style int

// The styles. Those of figures are for numbers that stand below each other: all figures are as wide as each other.
const (
	Regular Style = iota
	SemiBold
	Figures
	SemiBoldFigures
)

// face returns the place of the style's face.
func (s Style) face() int { return int(s % textFaces) }

// figures reports whether the style is for numbers.
func (s Style) figures() bool { return s >= Figures }

// face is an embedded font file, read once and only when a character needs it.
type face struct {
	name string
	data []byte
	once sync.Once
	font *font.Font
	glyf outlines
}

func (f *face) load() *face {
	f.once.Do(func() {
		loader, err := opentype.NewLoader(bytes.NewReader(f.data))
		if err == nil {
			f.font, err = font.NewFont(loader)
		}
		if err == nil {
			f.glyf, err = readOutlines(loader)
		}
		if err != nil {
			panic("embedded font " + f.name + ": " + err.Error())
		}
	})
	return f
}

// engine is what shaping keeps between two texts. One is used by one document at a time.
type engine struct {
	faces     [len(faces)]*font.Face
	number    map[*font.Font]int
	style     Style
	segmenter shaping.Segmenter
	shaper    shaping.HarfbuzzShaper
	wrapper   shaping.LineWrapper
}

var engines = sync.Pool{New: func() any {
	e := &engine{number: map[*font.Font]int{}}
	e.shaper.SetFontCacheSize(len(faces))
	return e
}}

func (e *engine) face(n int) *font.Face {
	if e.faces[n] == nil {
		e.faces[n] = font.NewFace(faces[n].load().font)
		e.number[e.faces[n].Font] = n
	}
	return e.faces[n]
}

// ResolveFace returns the first face that has a character. One that no face has is left to the face of the text,
// which shows a box for it.
func (e *engine) ResolveFace(r rune) *font.Face {
	main := e.face(e.style.face())
	if _, ok := main.NominalGlyph(r); ok {
		return main
	}
	for n := textFaces; n < len(faces); n++ {
		f := e.face(n)
		if _, ok := f.NominalGlyph(r); ok {
			return f
		}
	}
	return main
}
