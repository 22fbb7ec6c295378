package fonts

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
)

// outlines are the tables of a TrueType file that a cut face is made of.
type outlines struct {
	glyf, loca, hmtx []byte
	longLoca         bool
	numHMetrics      int
	upem             int
	// rest are the other tables, as they are or to be changed: head, hhea, maxp, and what draws small type.
	rest map[string][]byte
}

func readOutlines(loader *opentype.Loader) (outlines, error) {
	o := outlines{rest: map[string][]byte{}}
	for _, tag := range []string{"cvt ", "fpgm", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "prep"} {
		table, err := loader.RawTable(opentype.MustNewTag(tag))
		if err == nil {
			o.rest[tag] = table
		}
	}
	take := func(tag string, least int) []byte {
		table := o.rest[tag]
		if len(table) < least {
			return nil
		}
		return table
	}
	head, hhea := take("head", 54), take("hhea", 36)
	o.glyf, o.loca, o.hmtx = take("glyf", 1), take("loca", 1), take("hmtx", 4)
	if head == nil || hhea == nil || take("maxp", 32) == nil || o.glyf == nil || o.loca == nil || o.hmtx == nil {
		return o, fmt.Errorf("a table of TrueType outlines is missing or short")
	}
	o.upem = int(binary.BigEndian.Uint16(head[18:]))
	o.longLoca = binary.BigEndian.Uint16(head[50:]) == 1
	o.numHMetrics = int(binary.BigEndian.Uint16(hhea[34:]))
	return o, nil
}

// glyph returns the outline of a glyph, empty for one that draws nothing.
func (o *outlines) glyph(g font.GID) []byte {
	if o.longLoca {
		return o.glyf[binary.BigEndian.Uint32(o.loca[4*g:]):binary.BigEndian.Uint32(o.loca[4*g+4:])]
	}
	return o.glyf[2*int(binary.BigEndian.Uint16(o.loca[2*g:])) : 2*int(binary.BigEndian.Uint16(o.loca[2*g+2:]))]
}

// metric returns the advance and the left side bearing of a glyph, in units of the face.
func (o *outlines) metric(g font.GID) (advance, bearing uint16) {
	last := o.numHMetrics - 1
	if int(g) <= last {
		return binary.BigEndian.Uint16(o.hmtx[4*g:]), binary.BigEndian.Uint16(o.hmtx[4*g+2:])
	}
	bearings := o.hmtx[4*o.numHMetrics:]
	return binary.BigEndian.Uint16(o.hmtx[4*last:]), binary.BigEndian.Uint16(bearings[2*(int(g)-o.numHMetrics):])
}

// Codes is the number of codes of the font; they are counted from 0, which is the box for a missing character.
func (f *Font) Codes() int { return len(f.uses) }

// Width returns the advance that the cut face gives a code, in units of which Em are an em.
func (f *Font) Width(code uint16) int {
	advance, _ := f.face.glyf.metric(f.uses[code].glyph)
	upem := f.face.glyf.upem
	return (int(advance)*Em + upem/2) / upem // rounded as the shaper does
}

// Text returns what a code stands for; nothing where an earlier code of its cluster stands for it all.
func (f *Font) Text(code uint16) string { return f.uses[code].text }

// Name returns the PostScript name under which a part of the face goes: six letters that tell parts apart, and the
// name of the face.
func (f *Font) Name() string {
	h := fnv.New64a()
	for _, u := range f.uses {
		fmt.Fprintf(h, "%d %s\n", u.glyph, u.text)
	}
	sum, tag := h.Sum64(), make([]byte, 6)
	for i := range tag {
		tag[i] = 'A' + byte(sum%26)
		sum /= 26
	}
	return string(tag) + "+" + f.face.name
}

// Extent is how far a font reaches, in thousandths of an em.
type Extent struct {
	Left, Bottom, Right, Top int
	Ascent, Descent          int
}

// Extent returns how far the glyphs of the whole face reach.
func (f *Font) Extent() Extent {
	o := &f.face.glyf
	at := func(table string, offset int) int {
		return int(int16(binary.BigEndian.Uint16(o.rest[table][offset:]))) * 1000 / o.upem
	}
	return Extent{at("head", 36), at("head", 38), at("head", 40), at("head", 42), at("hhea", 4), at("hhea", 6)}
}

// Program returns a TrueType file with a glyph for every code, in their order.
func (f *Font) Program() []byte {
	o := &f.face.glyf
	glyphs := make([]font.GID, len(f.uses))
	for i, u := range f.uses {
		glyphs[i] = u.glyph
	}
	var glyf, loca, hmtx []byte
	for i := 0; i < len(glyphs); i++ { // parts of glyphs are added while it goes on
		loca = binary.BigEndian.AppendUint32(loca, uint32(len(glyf)))
		start := len(glyf)
		glyf = append(glyf, o.glyph(glyphs[i])...)
		eachPart(glyf[start:], func(part []byte) {
			component := font.GID(binary.BigEndian.Uint16(part))
			// The parts are looked for behind the codes, so that no code is a part and both stay apart.
			at := slices.Index(glyphs[len(f.uses):], component)
			if at < 0 {
				glyphs, at = append(glyphs, component), len(glyphs)-len(f.uses)
			}
			binary.BigEndian.PutUint16(part, uint16(len(f.uses)+at))
		})
		glyf = pad(glyf)
		advance, bearing := o.metric(glyphs[i])
		hmtx = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(hmtx, advance), bearing)
	}
	loca = binary.BigEndian.AppendUint32(loca, uint32(len(glyf)))

	head, hhea, maxp := slices.Clone(o.rest["head"]), slices.Clone(o.rest["hhea"]), slices.Clone(o.rest["maxp"])
	binary.BigEndian.PutUint16(head[50:], 1) // loca has 32 bits
	binary.BigEndian.PutUint16(hhea[34:], uint16(len(glyphs)))
	binary.BigEndian.PutUint16(maxp[4:], uint16(len(glyphs)))
	var tables []opentype.Table
	for _, t := range []struct {
		tag     string
		content []byte
	}{
		{"cvt ", o.rest["cvt "]}, {"fpgm", o.rest["fpgm"]}, {"glyf", glyf}, {"head", head}, {"hhea", hhea}, {"hmtx", hmtx},
		{"loca", loca}, {"maxp", maxp}, {"prep", o.rest["prep"]},
	} {
		if t.content != nil {
			tables = append(tables, opentype.Table{Tag: opentype.MustNewTag(t.tag), Content: pad(slices.Clone(t.content))})
		}
	}
	return opentype.WriteTTF(tables)
}

// pad fills up to four bytes, where the next glyph or table may begin.
func pad(b []byte) []byte {
	return append(b, make([]byte, -len(b)&3)...)
}

// eachPart calls do with the glyph number of every part of a glyph that is put together from others.
func eachPart(glyph []byte, do func(part []byte)) {
	if len(glyph) < 10 || int16(binary.BigEndian.Uint16(glyph)) >= 0 {
		return
	}
	const words, scale, more, scaleXY, matrix = 1 << 0, 1 << 3, 1 << 5, 1 << 6, 1 << 7
	for rest := glyph[10:]; len(rest) >= 4; {
		flags := binary.BigEndian.Uint16(rest)
		do(rest[2:4])
		size := 6
		if flags&words != 0 {
			size += 2
		}
		switch {
		case flags&scale != 0:
			size += 2
		case flags&scaleXY != 0:
			size += 4
		case flags&matrix != 0:
			size += 8
		}
		if flags&more == 0 || len(rest) < size {
			return
		}
		rest = rest[size:]
	}
}
