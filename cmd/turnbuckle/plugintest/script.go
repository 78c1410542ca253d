package plugintest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// source is a script as its file has it.
type source struct {
	dir, name string
	language  string // js or lua
	text      string
	tyk       bool
}

// readSource reads a script. Whether it is written for Tyk is found out unless it is said.
func readSource(file string, tyk, said bool) (*source, error) {
	s := &source{dir: filepath.Dir(file), name: filepath.Base(file), language: strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), "."), tyk: tyk}
	if s.language != "js" && s.language != "lua" {
		return nil, fmt.Errorf("%s: no script: its name must end in .js or .lua", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s.text = string(data)
	if !said {
		s.tyk = looksLikeTyk(s.language, s.text)
	}
	return s, nil
}

var (
	mentionsExports = regexp.MustCompile(`\bexports\b`)
	makesMiddleware = regexp.MustCompile(`([A-Za-z_$][\w$]*)\s*=\s*(?:new\s+)?TykJS\.TykMiddleware\.NewMiddleware\b`)
	answersVirtual  = regexp.MustCompile(`\bTykJsResponse\s*\(`)
	definesGlobal   = regexp.MustCompile(`(?m)^(?:function[ \t]+([A-Za-z_]\w*)|([A-Za-z_]\w*)\s*=\s*function)\s*\(([^)]*)\)`)
)

// looksLikeTyk reports whether a script has what scripts for Tyk have, and not what others have.
func looksLikeTyk(language, text string) bool {
	if mentionsExports.MatchString(text) {
		return false
	}
	if language == "js" {
		return makesMiddleware.MatchString(text) || answersVirtual.MatchString(text)
	}
	return definesGlobal.MatchString(text)
}

// options are what a script is opened with.
type options struct {
	services script.Services
	limits   script.Limits
	prelude  []string // files that are run before it
	allow    []string // libraries of Lua
	fresh    bool
	sessions bool // Tyk's hooks are given sessions, as by require_session
}

// opened is a script that can be called. Close it.
type opened struct {
	coprocess.Server
	about *script.About // nil for Tyk's
	files *script.Files
	watch *script.Watch

	sessions bool // see options
}

// open compiles a script and runs it once.
func (s *source) open(ctx context.Context, o options) (_ *opened, err error) {
	made := &opened{watch: script.NewWatch(), sessions: o.sessions}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.Close())
		}
	}()
	plugin, err := script.Plugin{
		Name: s.name, Limits: o.limits, Services: o.services, Watch: made.watch, Fresh: o.fresh,
	}.FromFolder(s.dir, s.name)
	if err != nil {
		return nil, err
	}
	made.files = plugin.Files
	var before []script.Source
	for _, file := range o.prelude {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		before = append(before, script.Source{Name: filepath.ToSlash(file), Text: string(text)})
	}
	plugin.Main = append(before, plugin.Main...)
	if s.language == "lua" {
		var libraries []interp.Library
		for _, name := range o.allow {
			libraries = append(libraries, interp.Library(name))
		}
		server, err := lua.Open(ctx, plugin, lua.Options{Tyk: s.tyk, Allow: libraries})
		if err != nil {
			return nil, err
		}
		made.Server, made.about = server, server.About()
		return made, nil
	}
	sessions := map[string]bool{}
	if o.sessions {
		for _, h := range s.middlewares() {
			sessions[h.Name] = true
		}
	}
	js.BoundPatterns()
	server, err := js.Open(ctx, plugin, js.Options{Tyk: s.tyk, Sessions: sessions})
	if err != nil {
		return nil, err
	}
	made.Server, made.about = server, server.About()
	return made, nil
}

// Close ends the script and what watched it.
func (o *opened) Close() error {
	var err error
	if o.Server != nil {
		err = o.Server.Close()
	}
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	o.watch.Close()
	return err
}

// hook is a hook of the script in a phase.
type hook struct {
	Name    string
	Phase   sdk.Phase
	virtual bool // a function of Tyk's as a virtual endpoint, which answers after the phase post
}

// virtual is what names a virtual endpoint in the place of a phase.
const virtual = "virtual"

// hook makes a hook of the script callable.
func (o *opened) hook(h hook, use sdk.HookUse) (sdk.Hook, error) {
	if !h.virtual {
		return o.Server.Hook(use)
	}
	s, ok := o.Server.(*js.Server)
	if !ok || o.about != nil {
		return nil, fmt.Errorf("%w: only Tyk's JavaScript has virtual endpoints", sdk.ErrUnimplemented)
	}
	return s.Virtual(h.Name, o.sessions), nil
}

// hooks lists those of the script, in the order of phases; in one phase, the one of its name first.
func (s *source) hooks(about *script.About) []hook {
	if about == nil {
		return ordered(s.middlewares())
	}
	var all []hook
	for name, h := range about.Hooks {
		all = append(all, hook{Name: name, Phase: cmp.Or(h.Phase, sdk.Pre)})
	}
	slices.SortFunc(all, func(a, b hook) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	return ordered(all)
}

func rank(h hook) int {
	if h.Name == h.Phase.String() {
		return 0
	}
	return 1
}

func ordered(all []hook) []hook {
	slices.SortStableFunc(all, func(a, b hook) int { return cmp.Compare(a.Phase, b.Phase) })
	return all
}

// middlewares lists the hooks of a script for Tyk, which only its definition names: what looks like them, in the phase that
// they look like.
func (s *source) middlewares() []hook {
	place, placed := map[string]sdk.Phase{"pre": sdk.Pre, "auth": sdk.Auth, "post_auth": sdk.PostKeyAuth, "post": sdk.Post}[s.folder()]
	phase := func(auth bool) sdk.Phase {
		switch {
		case placed:
			return place
		case auth:
			return sdk.Auth
		}
		return sdk.Pre
	}
	var all []hook
	if s.language == "lua" {
		for _, m := range definesGlobal.FindAllStringSubmatch(s.text, -1) {
			if parameters := strings.Count(m[3], ",") + 1; parameters >= 3 {
				all = append(all, hook{Name: m[1] + m[2], Phase: phase(parameters == 4)})
			}
		}
		return all
	}
	for _, m := range makesMiddleware.FindAllStringSubmatch(s.text, -1) {
		calls := func(method string) bool {
			return regexp.MustCompile(`(^|[^\w$.])` + regexp.QuoteMeta(m[1]) + `\.` + method + `\s*\(`).MatchString(s.text)
		}
		if calls("NewProcessRequest") || !calls("NewProcessResponse") {
			all = append(all, hook{Name: m[1], Phase: phase(calls("ReturnAuthData"))})
		}
		if calls("NewProcessResponse") {
			all = append(all, hook{Name: m[1], Phase: sdk.ResponsePhase})
		}
	}
	if len(all) == 0 && answersVirtual.MatchString(s.text) {
		for _, m := range definesGlobal.FindAllStringSubmatch(s.text, -1) {
			if strings.Count(m[3], ",") == 2 {
				all = append(all, hook{Name: m[1] + m[2], Phase: sdk.Post, virtual: true})
			}
		}
	}
	return all
}

// folder is the name of the folder that the script lies in.
func (s *source) folder() string {
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return ""
	}
	return filepath.Base(dir)
}

// choose returns the hooks that are named, each NAME or NAME:PHASE, in the order of phases; without names, all.
func (s *source) choose(about *script.About, names []string) ([]hook, error) {
	known := s.hooks(about)
	if len(names) == 0 {
		if len(known) == 0 {
			return nil, hint.New(fmt.Errorf("%s has no hooks", s.name), s.without())
		}
		return known, nil
	}
	var chosen []hook
	for _, text := range names {
		name, said, hasPhase := strings.Cut(text, ":")
		h := hook{Name: name, Phase: sdk.Pre}
		i := slices.IndexFunc(known, func(k hook) bool { return k.Name == name })
		if i >= 0 {
			h = known[i]
		}
		switch {
		case hasPhase && said == virtual && about == nil:
			h.Phase, h.virtual = sdk.Post, true
		case hasPhase:
			var err error
			h.virtual = false
			if h.Phase, err = sdk.ParsePhase(said); err != nil || h.Phase == sdk.Log {
				return nil, fmt.Errorf("hook %q: %q is no phase of hooks: want pre, auth, post_key_auth, post or response", text, said)
			}
		}
		if i < 0 && about != nil {
			return nil, hint.New(fmt.Errorf("%s has no hook %q", s.name, name), "it has "+cmp.Or(listed(known), "none"))
		}
		chosen = append(chosen, h)
	}
	return ordered(chosen), nil
}

func (s *source) without() string {
	switch {
	case s.tyk:
		return "name what its definition names: --hook NAME:PHASE"
	case s.language == "js":
		return "a hook is a function among its exports: exports.pre = function (x) { … }; for a script of Tyk's say --tyk"
	}
	return "a hook is a function in the table exports: function exports.pre(x) … end; for a script of Tyk's say --tyk"
}

func listed(hooks []hook) string {
	names := make([]string, len(hooks))
	for i, h := range hooks {
		names[i] = h.Name
	}
	return strings.Join(slices.Compact(names), ", ")
}
