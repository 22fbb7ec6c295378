package pdf

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf16"

	"apportion/billing/export/pdf/fonts"
)

// The general PDF libraries for Go place one glyph for each character of the Basic Multilingual Plane, which leaves
// Arabic unjoined, Devanagari out of order and emoji out, and read a font again for every document. So what shapes
// text is a library, and the few objects of PDF 1.7 that an invoice needs are written here.

// Lengths are whole thousandths of a point, from the left and the top of the page, so that every machine rounds
// them the same way.
const (
	pt         = 1000
	pageWidth  = 595_276 // A4
	pageHeight = 841_890
)

// colour is 0xRRGGBB.
type colour uint32

// document is a PDF file while its pages are being filled.
type document struct {
	title, author string
	date          time.Time
	set           *fonts.Set
	pages         []*canvas
	root          *element
	// plain leaves out the compression, for tests to read what is on the pages.
	plain bool
}

// canvas is the content of one page.
type canvas struct {
	content []byte
	fill    colour
	stroke  colour
	// marked has the element of each piece of content that is marked, by its number.
	marked []*element
}

// add appends a page.
func (d *document) add() *canvas {
	c := &canvas{}
	d.pages = append(d.pages, c)
	return c
}

// number writes a length in points.
func number(b []byte, thousandths int) []byte {
	if thousandths < 0 {
		b, thousandths = append(b, '-'), -thousandths
	}
	b = strconv.AppendInt(b, int64(thousandths/1000), 10)
	if rest := thousandths % 1000; rest != 0 {
		digits := strconv.Itoa(1000 + rest)[1:]
		for digits[len(digits)-1] == '0' {
			digits = digits[:len(digits)-1]
		}
		b = append(append(b, '.'), digits...)
	}
	return b
}

// op writes an operator with its operands in points.
func (c *canvas) op(operator string, operands ...int) {
	for _, o := range operands {
		c.content = append(number(c.content, o), ' ')
	}
	c.content = append(append(c.content, operator...), '\n')
}

func (c *canvas) setFill(to colour) {
	if c.fill != to {
		c.fill = to
		c.op("rg", int(to>>16)*1000/255, int(to>>8&255)*1000/255, int(to&255)*1000/255)
	}
}

func (c *canvas) setStroke(to colour) {
	if c.stroke != to {
		c.stroke = to
		c.op("RG", int(to>>16)*1000/255, int(to>>8&255)*1000/255, int(to&255)*1000/255)
	}
}

// box fills a rectangle.
func (c *canvas) box(x, y, width, height int, fill colour) {
	c.setFill(fill)
	c.op("re", x, pageHeight-y-height, width, height)
	c.op("f")
}

// point is a position on a page.
type point struct{ x, y int }

// area fills a polygon.
func (c *canvas) area(points []point, fill colour) {
	c.setFill(fill)
	c.path(points)
	c.op("f")
}

// line draws through points; dash is the length of dashes and of the gaps between them, or 0.
func (c *canvas) line(points []point, width, dash int, stroke colour) {
	c.setStroke(stroke)
	c.op("w", width)
	if dash > 0 {
		c.content = append(c.content, '[')
		c.content = append(number(c.content, dash), "] 0 d\n"...)
	}
	c.path(points)
	c.op("S")
	if dash > 0 {
		c.op("[] 0 d")
	}
}

func (c *canvas) path(points []point) {
	for i, p := range points {
		operator := "l"
		if i == 0 {
			operator = "m"
		}
		c.op(operator, p.x, pageHeight-p.y)
	}
}

// dot fills a circle.
func (c *canvas) dot(x, y, radius int, fill colour) {
	c.setFill(fill)
	y = pageHeight - y
	k := radius * 552 / 1000 // how far the handles of a quarter are, for a curve that is round to the eye
	c.op("m", x+radius, y)
	c.op("c", x+radius, y+k, x+k, y+radius, x, y+radius)
	c.op("c", x-k, y+radius, x-radius, y+k, x-radius, y)
	c.op("c", x-radius, y-k, x-k, y-radius, x, y-radius)
	c.op("c", x+k, y-radius, x+radius, y-k, x+radius, y)
	c.op("f")
}

// text shows a line with its left end and its baseline at x and y.
func (c *canvas) text(line fonts.Line, x, y, size int, fill colour) {
	if len(line.Runs) == 0 {
		return
	}
	c.setFill(fill)
	c.op("BT")
	at := 0 // along the line, in units of fonts.Em
	for _, run := range line.Runs {
		c.content = fmt.Appendf(c.content, "/F%d ", run.Font.Number)
		c.op("Tf", size)
		c.op("Tm", 1000, 0, 0, 1000, x+at*size/fonts.Em, pageHeight-y)
		c.glyphs(run, size)
		for _, g := range run.Glyphs {
			at += g.Advance
		}
	}
	c.op("ET")
}

// glyphs shows a run. Each glyph is positioned from the beginning of the run, so that no rounding
// adds up.
func (c *canvas) glyphs(run fonts.Run, size int) {
	origin, pen, rise := 0, 0, 0 // where the glyph belongs and where the viewer is, in units of fonts.Em; and the rise
	open, together := false, 0
	shut := func() {
		if open {
			c.content, open = append(c.content, ">] TJ\n"...), false
		}
	}
	for _, g := range run.Glyphs {
		if g.Together > 0 {
			shut()
			c.content = append(append(append(c.content, "/Span<</ActualText"...), textString(g.Text)...), ">>BDC\n"...)
			together = g.Together
		}
		if g.Above != rise {
			shut()
			rise = g.Above
			c.op("Ts", rise*size/fonts.Em)
		}
		if !open {
			c.content, open = append(c.content, "[<"...), true
		}
		if back := pen - origin - g.Right; back != 0 {
			// A number in TJ is in thousandths of an em, and moves back.
			c.content = append(c.content, '>')
			c.content = append(number(c.content, back*1000/64), '<')
		}
		c.content = fmt.Appendf(c.content, "%04x", g.Code)
		pen = origin + g.Right + run.Font.Width(g.Code)
		origin += g.Advance
		if together--; together == 0 {
			shut()
			c.op("EMC")
		}
	}
	shut()
	if rise != 0 {
		c.op("Ts", 0)
	}
}

// WriteTo writes the file. The same content gives the same bytes: its dates are the document's, its identifier is a
// digest of the rest, and nothing names a program or its version.
func (d *document) WriteTo(w io.Writer) (int64, error) {
	f := &objects{plain: d.plain}
	f.WriteString("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
	const catalogue, tree, info = 1, 2, 3
	f.next = 4

	fontList := ""
	for _, font := range d.set.Fonts() {
		fontList += fmt.Sprintf("/F%d %d 0 R ", font.Number, f.font(font))
	}
	resources := f.object("<</Font<<%s>>/ColorSpace<</DefaultRGB %s>>>>", fontList, sRGB)
	kids := ""
	var pages []int
	for i, page := range d.pages {
		content := f.stream("", page.content)
		pages = append(pages, f.object("<</Type/Page/Parent %d 0 R/Contents %d 0 R/Resources %d 0 R"+
			"/StructParents %d/Tabs/S>>", tree, content, resources, i))
		kids += fmt.Sprintf("%d 0 R ", pages[i])
	}
	f.begin(tree)
	fmt.Fprintf(f, "<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 %s %s]>>\nendobj\n",
		kids, len(d.pages), number(nil, pageWidth), number(nil, pageHeight))
	structure, metadata := f.structure(d.root, pages, d.pages), f.metadata(d)
	f.begin(catalogue)
	fmt.Fprintf(f, "<</Type/Catalog/Pages %d 0 R/Lang(en)/ViewerPreferences<</DisplayDocTitle true>>"+
		"/MarkInfo<</Marked true>>/StructTreeRoot %d 0 R/Metadata %d 0 R>>\nendobj\n", tree, structure, metadata)
	f.begin(info)
	date := d.date.Format("D:20060102150405Z")
	fmt.Fprintf(f, "<</Title%s/Author%s/CreationDate(%s)/ModDate(%s)>>\nendobj\n", textString(d.title),
		textString(d.author), date, date)

	id, start := sha256.Sum256(f.Bytes()), f.Len()
	fmt.Fprintf(f, "xref\n0 %d\n0000000000 65535 f \n", f.next)
	for n := 1; n < f.next; n++ {
		fmt.Fprintf(f, "%010d 00000 n \n", f.offsets[n])
	}
	fmt.Fprintf(f, "trailer\n<</Size %d/Root %d 0 R/Info %d 0 R/ID[<%x><%x>]>>\nstartxref\n%d\n%%%%EOF\n", f.next,
		catalogue, info, id[:16], id[:16], start)
	n, err := w.Write(f.Bytes())
	return int64(n), err
}

// sRGB is what colours are, for a screen or paper that would take them otherwise.
const sRGB = "[/CalRGB<</WhitePoint[.9505 1 1.089]/Gamma[2.2 2.2 2.2]" +
	"/Matrix[.4124 .2126 .0193 .3576 .7152 .1192 .1805 .0722 .9505]>>]"

// objects is the body of a PDF file.
type objects struct {
	bytes.Buffer
	plain   bool
	next    int
	offsets map[int]int
}

func (f *objects) begin(n int) {
	if f.offsets == nil {
		f.offsets = map[int]int{}
	}
	f.offsets[n] = f.Len()
	fmt.Fprintf(f, "%d 0 obj\n", n)
}

// object writes an object and returns its number.
func (f *objects) object(format string, args ...any) int {
	n := f.next
	f.next++
	f.begin(n)
	fmt.Fprintf(f, format, args...)
	f.WriteString("\nendobj\n")
	return n
}

var compressors = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

// stream writes a stream, with more entries for its dictionary, and returns its number.
func (f *objects) stream(entries string, content []byte) int {
	if !f.plain {
		var packed bytes.Buffer
		z := compressors.Get().(*zlib.Writer)
		z.Reset(&packed)
		z.Write(content) // a buffer takes everything
		z.Close()
		compressors.Put(z)
		entries, content = entries+"/Filter/FlateDecode", packed.Bytes()
	}
	n := f.next
	f.next++
	f.begin(n)
	fmt.Fprintf(f, "<</Length %d%s>>\nstream\n", len(content), entries)
	f.Write(content)
	f.WriteString("\nendstream\nendobj\n")
	return n
}

// font writes a font with what the document uses of it, and returns its number.
func (f *objects) font(font *fonts.Font) int {
	program := font.Program()
	file := f.stream(fmt.Sprintf("/Length1 %d", len(program)), program)
	e, name := font.Extent(), font.Name()
	descriptor := f.object("<</Type/FontDescriptor/FontName/%s/Flags 4/FontBBox[%d %d %d %d]"+
		"/ItalicAngle 0/Ascent %d/Descent %d/CapHeight %d/StemV 80/FontFile2 %d 0 R>>",
		name, e.Left, e.Bottom, e.Right, e.Top, e.Ascent, e.Descent, e.Ascent, file)
	var widths []byte
	for code := range font.Codes() {
		widths = append(number(widths, font.Width(uint16(code))*1000/64), ' ')
	}
	descendant := f.object("<</Type/Font/Subtype/CIDFontType2/BaseFont/%s/CIDSystemInfo<</Registry(Adobe)"+
		"/Ordering(Identity)/Supplement 0>>/FontDescriptor %d 0 R/CIDToGIDMap/Identity/W[0[%s]]>>",
		name, descriptor, widths)
	unicode := f.stream("", toUnicode(font))
	return f.object("<</Type/Font/Subtype/Type0/BaseFont/%s/Encoding/Identity-H"+
		"/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>", name, descendant, unicode)
}

// toUnicode returns the map by which text is copied and searched.
func toUnicode(font *fonts.Font) []byte {
	b := []byte("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n" +
		"/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n" +
		"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n" +
		"1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n")
	const most = 100 // entries that a block may have
	for from := 1; from < font.Codes(); from += most {
		to := min(from+most, font.Codes())
		b = fmt.Appendf(b, "%d beginbfchar\n", to-from)
		for code := from; code < to; code++ {
			b = fmt.Appendf(b, "<%04x> <", code)
			for _, unit := range utf16.Encode([]rune(font.Text(uint16(code)))) {
				b = fmt.Appendf(b, "%04x", unit)
			}
			b = append(b, ">\n"...)
		}
		b = append(b, "endbfchar\n"...)
	}
	return append(b, "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"...)
}

// textString writes a string of the document's information.
func textString(s string) []byte {
	b := []byte("<feff")
	for _, unit := range utf16.Encode([]rune(s)) {
		b = fmt.Appendf(b, "%04x", unit)
	}
	return append(b, '>')
}
