package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"apportion/billing"
	"apportion/schemas"
	"apportion/schemas/strict"
	"apportion/schemas/typo"
)

// Setting is one value of a Config.
type Setting struct {
	Key    string
	value  reflect.Value // a string, a bool, an int, a []string, item codes or a list of structs, which can be set
	Secret bool
}

// IsList reports whether the value is a list of objects, which only the file can have.
func (s Setting) IsList() bool {
	return s.value.Kind() == reflect.Slice && s.value.Type().Elem().Kind() == reflect.Struct
}

// Members returns the settings that an object of the list has, with their defaults.
func (s Setting) Members() []Setting {
	return settings(s.Key+"[].", reflect.New(s.value.Type().Elem()).Elem())
}

// objects returns the settings of each object of the list.
func (s Setting) objects() (all [][]Setting) {
	for i := range s.value.Len() {
		all = append(all, settings(fmt.Sprintf("%s[%d].", s.Key, i), s.value.Index(i)))
	}
	return all
}

// Settings lists the values of a configuration in the order of its fields.
func Settings(cfg *Config) []Setting { return settings("", reflect.ValueOf(cfg).Elem()) }

func settings(prefix string, v reflect.Value) (all []Setting) {
	for field, value := range v.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		key := prefix + name
		if field.Type.Kind() == reflect.Struct {
			all = append(all, settings(key+".", value)...)
			continue
		}
		all = append(all, Setting{key, value, field.Tag.Get("secret") != ""})
	}
	return all
}

// String returns the value as it would be written in an environment variable, a list of objects as in a file; a secret
// not at all.
func (s Setting) String() string {
	if s.Secret && s.value.Len() > 0 {
		return "(hidden)"
	}
	if s.IsList() {
		var list []string
		for _, object := range s.objects() {
			list = append(list, flow(object))
		}
		return strings.Join(list, ", ")
	}
	switch value := s.value.Interface().(type) {
	case []string:
		return strings.Join(value, ",")
	case billing.ItemCodes:
		var list []string
		for _, of := range slices.Sorted(maps.Keys(value)) {
			list = append(list, of+"="+value[of])
		}
		return strings.Join(list, ",")
	}
	return fmt.Sprint(s.value.Interface())
}

// flow writes an object on one line, without what it leaves out.
func flow(object []Setting) string {
	var members []string
	for _, s := range object {
		if s.value.IsZero() {
			continue
		}
		_, name, _ := strings.Cut(s.Key, "].")
		text := s.String()
		if s.value.Kind() == reflect.Slice {
			text = "[" + strings.ReplaceAll(text, ",", ", ") + "]"
		}
		members = append(members, name+": "+text)
	}
	return "{" + strings.Join(members, ", ") + "}"
}

// Variable returns the name of the setting's environment variable: APPORTION_KAFKA_TOPIC_PREFIX. A list of objects has
// none.
func (s Setting) Variable() string {
	if s.IsList() {
		return ""
	}
	var b strings.Builder
	b.WriteString("APPORTION_")
	for _, r := range s.Key {
		switch {
		case r == '.':
			b.WriteByte('_')
		case unicode.IsUpper(r):
			b.WriteByte('_')
			b.WriteRune(r)
		default:
			b.WriteRune(unicode.ToUpper(r))
		}
	}
	return b.String()
}

// assign sets the value from its text; values of a list are separated by commas.
func (s Setting) assign(text string) error {
	switch s.value.Interface().(type) {
	case string:
		s.value.SetString(text)
	case bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s: %q is neither true nor false", s.Key, text)
		}
		s.value.SetBool(text == "true")
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s: %q is not a whole number", s.Key, text)
		}
		s.value.SetInt(int64(n))
	case []string:
		s.value.Set(reflect.ValueOf(listed(text)))
	case billing.ItemCodes:
		codes := billing.ItemCodes{}
		for _, item := range listed(text) {
			of, code, ok := strings.Cut(item, "=")
			if !ok {
				return fmt.Errorf("%s: %q has no code; write it as overage=4711", s.Key, item)
			}
			if _, twice := codes[of]; twice {
				return fmt.Errorf("%s: %s is given twice", s.Key, of)
			}
			if err := billing.CheckItemCode(of, code); err != nil {
				return fmt.Errorf("%s: %w", s.Key, err)
			}
			codes[of] = code
		}
		s.value.Set(reflect.ValueOf(codes))
	default:
		return fmt.Errorf("%s is a list of objects: only the configuration file can have it", s.Key)
	}
	return nil
}

// listed returns the values that commas separate.
func listed(text string) (list []string) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// loader puts a configuration together and remembers where each value came from.
type loader struct {
	settings []Setting
	sources  map[string]string // by key
}

// Load returns the defaults, overridden by the file (named by the flag, else by APPORTION_CONFIG), then by
// APPORTION_… variables, then by key=value flags; and by key where each value came from. Names that it does not
// know are refused: a typo must not bill.
func Load(file string, environ, flags []string) (Config, map[string]string, error) {
	cfg := Default()
	l := loader{settings: Settings(&cfg), sources: make(map[string]string)}
	for _, s := range l.settings {
		l.sources[s.Key] = "default"
	}
	if file == "" {
		for _, entry := range environ {
			if value, ok := strings.CutPrefix(entry, "APPORTION_CONFIG="); ok {
				file = value
			}
		}
	}
	if file != "" {
		if err := l.readFile(file); err != nil {
			return cfg, nil, err
		}
	}
	if err := l.readEnviron(environ); err != nil {
		return cfg, nil, err
	}
	for _, flag := range flags {
		key, value, ok := strings.Cut(flag, "=")
		if !ok {
			return cfg, nil, fmt.Errorf("--set %s: write it as key=value, such as kafka.group=billing", flag)
		}
		if err := l.assign(key, value, "flag"); err != nil {
			return cfg, nil, fmt.Errorf("--set: %w", err)
		}
	}
	if key, must := cfg.Check(); key != "" {
		s, source := l.find(key)
		return cfg, nil, fmt.Errorf("%s (from %s) is %q; it must %s", key, source, s, must)
	}
	return cfg, l.sources, nil
}

// find returns a setting, or one of an object of a list, and where it came from.
func (l *loader) find(key string) (found Setting, source string) {
	for _, s := range l.settings {
		if s.Key == key {
			return s, l.sources[key]
		}
		if s.IsList() {
			for _, object := range s.objects() {
				if i := slices.IndexFunc(object, func(s Setting) bool { return s.Key == key }); i >= 0 {
					return object[i], cmp.Or(l.sources[key], l.sources[s.Key])
				}
			}
		}
	}
	panic("a rule is of " + key + ", which is no setting")
}

// assign sets one value, or names the nearest key when there is no such one.
func (l *loader) assign(key, text, source string) error {
	var keys []string
	for _, s := range l.settings {
		if s.Key == key {
			l.sources[key] = source
			return s.assign(text)
		}
		keys = append(keys, s.Key)
	}
	return unknown("setting", key, keys)
}

// OtherVariables are those that are not settings: the file itself, and where the embedded servers' programs are kept.
var OtherVariables = []string{"APPORTION_CONFIG", "APPORTION_CACHE"}

func (l *loader) readEnviron(environ []string) error {
	known := slices.Clone(OtherVariables)
	for _, s := range l.settings {
		known = append(known, s.Variable())
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "APPORTION_") || slices.Contains(OtherVariables, name) {
			continue
		}
		i := slices.Index(known, name)
		if i < 0 {
			return unknown("environment variable", name, known)
		}
		s := l.settings[i-len(OtherVariables)]
		l.sources[s.Key] = "environment " + name
		if err := s.assign(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *loader) readFile(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no configuration file %s; `apportion dev --data DIR` writes one to DIR/apportion.yaml",
			file)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	r, root := strict.Read(data)
	if root != nil && !strict.Null(root) {
		l.section(r, file, "", root)
	}
	if len(r.Problems) == 0 {
		return nil
	}
	switch p := r.Problems[0]; {
	case p.Code == schemas.MalformedDocument:
		return fmt.Errorf("%s: %s", file, p.Message)
	case p.Path != "":
		return fmt.Errorf("%s:%d: %s: %s", file, p.Line, p.Path, p.Message)
	default:
		return fmt.Errorf("%s:%d: %s", file, p.Line, p.Message)
	}
}

// section takes over the keys that the file has below one; an empty section or value leaves what was there.
func (l *loader) section(r *strict.Reader, file, key string, node *strict.Node) {
	if !r.IsObject(node) {
		r.Refuse(node, schemas.InvalidField, "", "", "%s must be a section, with keys of its own",
			cmp.Or(key, "the configuration"))
		return
	}
	r.Members(key, node, func(name string, at, value *strict.Node) {
		child := strict.Join(key, name)
		if err := l.knows(child); err != nil {
			r.Refuse(at, schemas.UnknownField, "", "", "%v", err)
			return
		}
		i := slices.IndexFunc(l.settings, func(s Setting) bool { return s.Key == child })
		if i < 0 {
			l.section(r, file, child, value)
			return
		}
		source := fmt.Sprintf("%s:%d", file, value.Line)
		if l.settings[i].IsList() {
			l.sources[child] = source
			l.list(r, file, l.settings[i], value)
			return
		}
		text, ok := l.settings[i].read(r, value)
		if !ok {
			return
		}
		if err := l.assign(child, text, source); err != nil {
			r.Refuse(value, schemas.InvalidField, "", "", "%v", err)
		}
	})
}

// list takes over a list of objects, each as strictly as a section.
func (l *loader) list(r *strict.Reader, file string, s Setting, value *strict.Node) {
	if !r.IsList(value) {
		r.Refuse(value, schemas.InvalidField, "", "", "%s must be a list, each beginning with a hyphen", s.Key)
		return
	}
	var nodes []*strict.Node
	r.Items(value, func(item *strict.Node) { nodes = append(nodes, item) })
	s.value.Set(reflect.MakeSlice(s.value.Type(), len(nodes), len(nodes)))
	for i, object := range s.objects() {
		key := fmt.Sprintf("%s[%d]", s.Key, i)
		for _, member := range object {
			l.sources[member.Key] = fmt.Sprintf("%s:%d", file, nodes[i].Line)
		}
		(&loader{object, l.sources}).section(r, file, key, nodes[i])
	}
}

// read returns the text of a value as [Setting.assign] takes it, from a plain value, a list of them or a map.
func (s Setting) read(r *strict.Reader, value *strict.Node) (text string, ok bool) {
	problems := len(r.Problems)
	var items []string
	switch {
	case r.IsObject(value) && s.value.Kind() == reflect.Map:
		r.Members(s.Key, value, func(name string, at, value *strict.Node) {
			text, ok := r.Plain(value)
			if !ok || strings.Contains(text, ",") {
				r.Refuse(at, schemas.InvalidField, "", "", "%s.%s must be a plain value without commas", s.Key, name)
			}
			items = append(items, name+"="+text)
		})
	case r.IsList(value):
		r.Items(value, func(item *strict.Node) {
			text, ok := r.Plain(item)
			if !ok || strings.Contains(text, ",") {
				r.Refuse(value, schemas.InvalidField, "", "", "%s must be a list of plain values without commas", s.Key)
			}
			items = append(items, text)
		})
	default:
		text, ok := r.Plain(value)
		if !ok {
			r.Refuse(value, schemas.InvalidField, "", "", "%s must be a plain value", s.Key)
		}
		items = append(items, text)
	}
	return strings.Join(items, ","), len(r.Problems) == problems
}

// knows returns an error unless the key is a setting or a section of some.
func (l *loader) knows(key string) error {
	var names []string
	for _, s := range l.settings {
		if s.Key == key || strings.HasPrefix(s.Key, key+".") {
			return nil
		}
		names = append(names, s.Key)
		for i, r := range s.Key {
			if r == '.' {
				names = append(names, s.Key[:i])
			}
		}
	}
	return unknown("setting", key, names)
}

// unknown says that a name is none of those known, and which of them it was probably meant to be.
func unknown(what, name string, known []string) error {
	return fmt.Errorf("unknown %s %s%s (`apportion config` lists them all)", what, name, typo.Hint(name, known))
}
