package pdf

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// What a page shows is tagged with what it is, so that it can be read aloud, copied in order and kept (PDF/A-3a,
// PDF/UA-1): an element of the structure for each paragraph, cell and picture, and all else marked as an artifact.

// element is a part of the document's structure.
type element struct {
	kind string // of the standard types, such as P or TD
	// more are entries of its own, such as the words for a picture.
	more string
	kids []kid
	// number is that of its object.
	number int
}

// kid is an element, or content on a page.
type kid struct {
	element      *element
	page, marked int
}

// tag has what is drawn meanwhile belong to a new element of the one that is open.
func (s *sheet) tag(kind, more string, draw func()) {
	if s.open == nil { // within what is an artifact
		draw()
		return
	}
	e := &element{kind: kind, more: more}
	s.open.kids = append(s.open.kids, kid{element: e})
	within := s.open
	s.open = e
	draw()
	s.open = within
}

// paragraph tags text.
func (s *sheet) paragraph(draw func()) { s.tag("P", "", draw) }

// artifact has what is drawn meanwhile belong to no element: it says nothing that is not said elsewhere.
func (s *sheet) artifact(draw func()) {
	within := s.open
	s.open = nil
	draw()
	s.open = within
}

// tableRow tags cells of a table, each by what draws it.
func (s *sheet) tableRow(kind string, cells ...func()) {
	more := ""
	if kind == "TH" {
		more = "/A<</O/Table/Scope/Column>>"
	}
	s.tag("TR", "", func() {
		for _, draw := range cells {
			s.tag(kind, more, draw)
		}
	})
}

// figure tags a picture as one, with words for who cannot see it.
func (s *sheet) figure(words string, draw func()) {
	s.tag("Figure", "/Alt"+string(textString(words)), func() {
		s.mark(func() {
			s.whole = true
			draw()
			s.whole = false
		})
	})
}

// mark marks what is drawn meanwhile as content of the open element, or as an artifact; in a picture all is marked.
func (s *sheet) mark(draw func()) {
	if s.whole {
		draw()
		return
	}
	page := s.page
	if s.open == nil {
		page.content = append(page.content, "/Artifact BMC\n"...)
	} else {
		page.content = fmt.Appendf(page.content, "/%s<</MCID %d>>BDC\n", s.open.kind, len(page.marked))
		s.open.kids = append(s.open.kids, kid{page: len(s.pages) - 1, marked: len(page.marked)})
		page.marked = append(page.marked, s.open)
	}
	draw()
	page.content = append(page.content, "EMC\n"...)
}

// structure writes the elements below the root and returns the number of the tree. The pages are written already.
func (f *objects) structure(root *element, pages []int, canvases []*canvas) int {
	f.numberAll(root)
	tree := f.next
	f.next++
	f.element(root, tree, pages)
	parents := ""
	for i, c := range canvases {
		list := ""
		for _, e := range c.marked {
			list += fmt.Sprintf("%d 0 R ", e.number)
		}
		parents += fmt.Sprintf("%d[%s]", i, list)
	}
	f.begin(tree)
	fmt.Fprintf(f, "<</Type/StructTreeRoot/K %d 0 R/ParentTree<</Nums[%s]>>/ParentTreeNextKey %d>>\nendobj\n",
		root.number, parents, len(canvases))
	return tree
}

func (f *objects) numberAll(e *element) {
	e.number = f.next
	f.next++
	for _, k := range e.kids {
		if k.element != nil {
			f.numberAll(k.element)
		}
	}
}

func (f *objects) element(e *element, parent int, pages []int) {
	kids := ""
	for _, k := range e.kids {
		if k.element != nil {
			kids += fmt.Sprintf("%d 0 R ", k.element.number)
		} else {
			kids += fmt.Sprintf("<</Type/MCR/Pg %d 0 R/MCID %d>>", pages[k.page], k.marked)
		}
	}
	f.begin(e.number)
	fmt.Fprintf(f, "<</Type/StructElem/S/%s/P %d 0 R%s/K[%s]>>\nendobj\n", e.kind, parent, e.more, kids)
	for _, k := range e.kids {
		if k.element != nil {
			f.element(k.element, e.number, pages)
		}
	}
}

// metadata writes what the file is, as archives read it, and returns its number. Info says the same.
func (f *objects) metadata(d *document) int {
	words := func(s string) string {
		var b bytes.Buffer
		xml.EscapeText(&b, []byte(s)) // a buffer takes everything
		return b.String()
	}
	date := d.date.Format("2006-01-02T15:04:05Z")
	content := fmt.Appendf(nil, metadataForm, words(d.title), words(d.author), date, date)
	n := f.next
	f.next++
	f.begin(n)
	fmt.Fprintf(f, "<</Type/Metadata/Subtype/XML/Length %d>>\nstream\n%s\nendstream\nendobj\n", len(content), content)
	return n
}

// metadataForm also describes the schema of PDF/UA, which PDF/A asks for of all that it does not have itself.
const metadataForm = "<?xpacket begin=\"\uFEFF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>" + `
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/"
 xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
 xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<dc:format>application/pdf</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:title>
<dc:creator><rdf:Seq><rdf:li>%s</rdf:li></rdf:Seq></dc:creator>
<xmp:CreateDate>%s</xmp:CreateDate>
<xmp:ModifyDate>%s</xmp:ModifyDate>
<pdfaid:part>3</pdfaid:part>
<pdfaid:conformance>A</pdfaid:conformance>
<pdfuaid:part>1</pdfuaid:part>
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType>
<pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 that the file follows</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>`
