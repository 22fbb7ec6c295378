package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"apportion/deploy/embedded/servicetest"
)

// pictured are the pictures of docs/how-to/use-the-console.md, of the shipped month on picturesDay, in this order: who
// opens which page, and the last element that is on the picture. From "period" on the month is
// issued.
var pictured = []struct{ name, as, path, last string }{
	{"account", "tenant", "/tenants/anonymous-bank", "figure"},
	{"contact-center", "tenant", "/tenants/anonymous-bank/users/ANAT/licences/contact-center", "main form"},
	{"access", "tenant", "/tenants/anonymous-bank/access?from=2000-11&date=2001-01-15", ".month:nth-child(3)"},
	{"home", "finance", "/", "main"},
	{"period", "finance", "/tenants/anonymous-bank/periods/1999-02", ".overage"},
	{"line", "finance", "/invoices/INV-Sub100001-199902/lines/6", ".stair > li:nth-child(4) .scroll"},
	{"balance", "finance", "/periods/1999-02/balance", "figure"},
	{"usage", "analyst", "/tenants/anonymous-bank/usage?from=1999-02-08", "figure"},
	{"what-if", "analyst", "/tenants/anonymous-bank/what-if?advice=yes", "main"},
	{"rejected", "operator", "", "main"},
	{"pipeline", "operator", "/pipeline", "figure"},
}

// picturesDay is when the pictures are taken: the grace of the shipped month is over.
var picturesDay = time.Date(1999, 3, 10, 8, 0, 0, 0, time.UTC)

// pictureBytes is how large a picture of the documentation may be.
const pictureBytes = 80_000

// TestPageHasItsPictures: the page on the console shows each picture that there is, and there is each that it shows. With
// -update they are taken again.
func TestPageHasItsPictures(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "console")
	if *update {
		takeDocPictures(t, dir)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "how-to", "use-the-console.md"))
	if err != nil {
		t.Fatal(err)
	}
	var shows, taken []string
	for _, found := range regexp.MustCompile(`!\[([^\]]*)\]\(\.\./console/([\w-]+)\.png\)`).FindAllStringSubmatch(string(page), -1) {
		if shows = append(shows, found[2]); len(found[1]) < 40 {
			t.Errorf("%s is described as %q alone", found[2], found[1])
		}
	}
	for _, p := range pictured {
		taken = append(taken, p.name)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != len(pictured) {
		t.Errorf("there are %v (%v), and not the %d that are taken", files, err, len(pictured))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".png")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		size, err := png.DecodeConfig(bytes.NewReader(content))
		if err != nil || size.Width != 1024 || len(content) > pictureBytes || !slices.Contains(taken, name) {
			t.Errorf("%s: %d bytes, %d wide (%v)", file, len(content), size.Width, err)
		}
	}
	slices.Sort(shows)
	slices.Sort(taken)
	if !slices.Equal(shows, taken) {
		t.Errorf("the page shows %v\nof %v", shows, taken)
	}
}

// takeDocPictures takes the pictures of the page on the console, from the program with the shipped month.
func takeDocPictures(t *testing.T, dir string) {
	var files []txtar.File
	for as, name := range map[string]string{"registry.yaml": "registry.json", "usage.ndjson.gz": "events.ndjson.gz"} {
		content, err := month.ReadFile("month/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, txtar.File{Name: as, Data: content})
	}
	s := startServer(t, &apiServer{tenant: "anonymous-bank", clock: func() time.Time { return picturesDay }}, files, "publish usage.ndjson.gz", "ingest --until-caught-up",
		"aggregate --until-caught-up")
	tab := servicetest.NewTab(t, s.url)
	for _, p := range pictured {
		path := p.path
		switch p.name {
		case "period":
			s.command(t, "bill issue --period 1999-02 --as-of "+picturesDay.Format(time.RFC3339)+" --out "+t.TempDir())
		case "rejected":
			found := regexp.MustCompile(`"(/rejected/[^"]+)"`).FindStringSubmatch(openPage(t, s, p.as, "/rejected").html)
			if found == nil {
				t.Fatal("nothing was refused")
			}
			path = found[1]
		}
		tab.As(s.tokens[p.as])
		if status := tab.Open(path); status != 200 {
			t.Fatalf("%s: %d\n%s", path, status, tab.Text())
		}
		bottom := servicetest.Eval[int](tab,
			fmt.Sprintf(`Math.ceil(document.querySelector(%q).getBoundingClientRect().bottom)`, p.last))
		whole, err := png.Decode(bytes.NewReader(tab.Picture()))
		if err != nil {
			t.Fatal(err)
		}
		content := reduced(t, whole, min(bottom+16, whole.Bounds().Dy()))
		if err := os.WriteFile(filepath.Join(dir, p.name+".png"), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reduced returns the upper part of a picture as a PNG of the 64 colours that it has most of, of near ones the first.
func reduced(t *testing.T, of image.Image, height int) []byte {
	box := image.Rect(0, 0, of.Bounds().Dx(), height)
	often := map[color.RGBA]int{}
	for y := range height {
		for x := range box.Dx() {
			often[color.RGBAModel.Convert(of.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(often), func(a, b color.RGBA) int {
		return cmp.Or(often[b]-often[a], bytes.Compare([]byte{a.R, a.G, a.B}, []byte{b.R, b.G, b.B}))
	})
	var palette color.Palette
	near := map[color.RGBA]bool{}
	for _, c := range colours {
		if part := (color.RGBA{c.R >> 3, c.G >> 3, c.B >> 3, 255}); !near[part] && len(palette) < 64 {
			near[part] = true
			palette = append(palette, c)
		}
	}
	few := image.NewPaletted(box, palette)
	draw.Draw(few, box, of, image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, few); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
