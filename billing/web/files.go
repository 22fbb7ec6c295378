package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"apportion/billing/export"
	"apportion/billing/web/access"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// fileRoutes registers the routes of the files that are written of a period.
func (s *Server) fileRoutes() {
	const files = "/periods/{period}/files"
	binary := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	register(s, route{ID: "listFiles", Method: http.MethodGet, Path: files, Tag: "Periods",
		Summary: "The manifest of the files that are written of a period", Errors: []int{http.StatusNotModified},
	}, s.listFiles)
	content := map[string]*huma.MediaType{}
	for _, t := range append([]string{"application/octet-stream"}, fileTypes...) {
		content[t] = binary
	}
	content["application/json"] = &huma.MediaType{Schema: &huma.Schema{Description: "manifest.json or invoices.json."}}
	register(s, route{ID: "getFile", Method: http.MethodGet, Path: files + "/{name}", Tag: "Periods",
		Summary:     "A file of a period, byte by byte as the manifest says",
		Description: "The name is the path that the manifest has, such as lines.csv or pdf/INV-Sub100001-202610.pdf.",
		Errors: []int{http.StatusPartialContent, http.StatusNotModified,
			http.StatusRequestedRangeNotSatisfiable},
		Types: append([]string{"application/octet-stream"}, fileTypes...), Response: content,
	}, s.getFile)
	// Paths of the manifest have a slash, which a segment of the path could have only escaped.
	s.mux.HandleFunc("GET "+Prefix+files+"/{folder}/{name}", func(w http.ResponseWriter, r *http.Request) {
		one := r.Clone(r.Context())
		one.URL.RawPath = fmt.Sprintf("%s/periods/%s/files/%s", Prefix, url.PathEscape(r.PathValue("period")),
			url.PathEscape(r.PathValue("folder")+"/"+r.PathValue("name")))
		s.mux.ServeHTTP(w, one)
	})
}

// fileTypes are the media types of files, and typeOf has them by the endings of their names.
var (
	fileTypes = []string{"application/json", "text/csv", "application/pdf", "application/xml",
		"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
	typeOf = map[string]string{".json": fileTypes[0], ".csv": fileTypes[1], ".pdf": fileTypes[2], ".xml": fileTypes[3],
		".xlsx": fileTypes[4]}
)

type listFilesInput struct {
	PeriodPath
	IfNoneMatch string `header:"If-None-Match"`
}

type manifestOutput struct {
	ETag string `header:"ETag" doc:"The SHA-256 of manifest.json."`
	Body export.Manifest
}

func (s *Server) listFiles(_ context.Context, scope access.Scope, in *listFilesInput) (*manifestOutput, error) {
	_, manifest, content, err := s.manifest(scope, in.PeriodPath)
	if err != nil {
		return nil, err
	}
	out := &manifestOutput{hashTag(content), *manifest}
	if matches(in.IfNoneMatch, out.ETag) {
		return nil, notModified(out.ETag)
	}
	return out, nil
}

// manifest reads the manifest of a period. The files are of all tenants, so it is for those alone who may see all.
func (s *Server) manifest(scope access.Scope, in PeriodPath) (civil.Month, *export.Manifest, []byte, error) {
	period, err := in.month()
	if err != nil {
		return 0, nil, nil, err
	}
	if _, everyone := scope.Tenants(""); !everyone {
		return 0, nil, nil, newProblem(http.StatusForbidden, schemas.Forbidden,
			"the files of a period are of all tenants, and you may see some alone")
	}
	if s.Files == nil {
		return 0, nil, nil, newProblem(http.StatusNotFound, schemas.NotFound,
			"no files are written here: schedule.out says where they would be")
	}
	content, err := fs.ReadFile(s.Files, period.String()+"/"+export.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil, newProblem(http.StatusNotFound, schemas.NotFound, "no files of "+period.String()+" are written")
	}
	if err != nil {
		return 0, nil, nil, err
	}
	manifest, err := export.ParseManifest(content)
	return period, manifest, content, err
}

type getFileInput struct {
	PeriodPath
	Name        string `path:"name" maxLength:"500" doc:"Its path in the manifest."`
	IfNoneMatch string `header:"If-None-Match"`
	IfRange     string `header:"If-Range" doc:"The ETag that the Range is of: where it is another by now, all is sent."`
	Range       string `header:"Range" doc:"The bytes that are wanted, such as bytes=0-1023; all by default."`
}

type fileOutput struct {
	ETag        string `header:"ETag" doc:"The SHA-256 of the file."`
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        func(huma.Context)
}

func (s *Server) getFile(_ context.Context, scope access.Scope, in *getFileInput) (*fileOutput, error) {
	period, manifest, content, err := s.manifest(scope, in.PeriodPath)
	if err != nil {
		return nil, err
	}
	out := &fileOutput{ContentType: typeOf[path.Ext(in.Name)],
		Disposition: fmt.Sprintf("attachment; filename=%q", path.Base(in.Name))}
	if in.Name == export.ManifestName {
		out.ETag, out.Body = hashTag(content), serveBytes(bytes.NewReader(content), nil)
		return out, nil
	}
	at := slices.IndexFunc(manifest.Files, func(f export.File) bool { return f.Path == in.Name })
	if at < 0 {
		return nil, notFound("file", in.Name)
	}
	of := manifest.Files[at]
	file, err := s.Files.Open(period.String() + "/" + of.Path)
	if err != nil {
		return nil, fmt.Errorf("the files of %s are not as their manifest says: %w", period, err)
	}
	info, err := file.Stat()
	seekable, ok := file.(io.ReadSeeker)
	if err != nil || !ok || info.Size() != of.Size {
		file.Close()
		return nil, fmt.Errorf("the files of %s are not as their manifest says: %s", period, of.Path)
	}
	out.ETag, out.Body = `"`+of.SHA256+`"`, serveBytes(seekable, file)
	return out, nil
}

// serveBytes answers with content, or what a Range asks of it, and closes what has to be.
func serveBytes(content io.ReadSeeker, closer io.Closer) func(huma.Context) {
	return func(c huma.Context) {
		if closer != nil {
			defer closer.Close()
		}
		r, w := humago.Unwrap(c)
		answer := &rangeWriter{ResponseWriter: w}
		http.ServeContent(answer, r, "", time.Time{}, content)
		if answer.refused {
			writeProblem(w, r, newProblem(http.StatusRequestedRangeNotSatisfiable, schemas.MalformedRequest,
				"the file has none of the bytes of the Range"))
		}
	}
}

// rangeWriter leaves out the text that net/http refuses a Range with.
type rangeWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rangeWriter) Write(content []byte) (int, error) {
	if w.refused {
		return len(content), nil
	}
	return w.ResponseWriter.Write(content)
}

// hashTag is the ETag of bytes that are determined: their SHA-256.
func hashTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// matches reports whether an If-None-Match header names a tag.
func matches(ifNoneMatch, tag string) bool {
	for _, have := range strings.Split(ifNoneMatch, ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
			return true
		}
	}
	return false
}

// notModified says that the caller has it already.
func notModified(tag string) error {
	return huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {tag}})
}
