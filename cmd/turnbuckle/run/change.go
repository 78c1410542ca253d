package run

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// job is something that changes what serves. One is done at a time.
type job struct {
	do   func(ctx context.Context) error
	done chan error
}

// ask has the worker do something and waits for it.
func (g *gateway) ask(ctx context.Context, do func(ctx context.Context) error) error {
	j := job{do, make(chan error, 1)}
	select {
	case g.jobs <- j:
	case <-g.stopped:
		return host.ErrClosing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work does one job at a time until ctx ends.
func (g *gateway) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-g.jobs:
			j.done <- j.do(ctx)
		}
	}
}

// reload reads settings, definitions and plugin folders again and has them serve.
func (g *gateway) reload(ctx context.Context) error { return g.ask(ctx, g.reread) }

// reread is the worker's reload. Settings that are refused leave everything as it is, and are logged once.
func (g *gateway) reread(ctx context.Context) error {
	log, now := g.sight.log, g.now.Load()
	l, err := g.o.Source.Load()
	if err == nil {
		err = l.Problems.Err()
	}
	if err != nil {
		err = fmt.Errorf("the settings are refused:\n%w", err)
		if g.said != err.Error() {
			log.Error("reload: nothing has changed", "error", err.Error())
		}
		g.said = err.Error()
		return err
	}
	waiting := keep(&l.Settings, now.s)
	if len(waiting) > 0 && !slices.Equal(waiting, now.from.Load().waiting) {
		log.Warn("some settings that have changed need a restart", "settings", strings.Join(waiting, ", "))
	}
	if reflect.DeepEqual(&l.Settings, now.s) {
		g.said = ""
		now.from.Store(&origins{l, waiting})
		return g.redefine(ctx, now)
	}
	next, err := g.prepare(ctx, l, now)
	if errors.Is(err, host.ErrClosing) {
		return err
	}
	if err != nil {
		err = fmt.Errorf("the settings cannot be changed:\n%w", err)
		if g.said != err.Error() {
			log.Error("reload: nothing has changed", "error", err.Error())
		}
		g.said = err.Error()
		return err
	}
	g.said = ""
	next.from.Store(&origins{l, waiting})
	changed := differences(now.from.Load().Values, l.Values)
	g.adopt(next)
	log.Info("settings changed", "settings", strings.Join(pathsOf(changed), ", "), "routes", len(next.loaded.Load().Set.Definitions))
	return nil
}

// redefine reads the definitions again, with settings as they are.
func (g *gateway) redefine(ctx context.Context, now *generation) error {
	loading, cancel := context.WithTimeout(ctx, now.s.LoadTimeout)
	defer cancel()
	err := g.load(loading, now)
	if err == nil {
		g.sight.log.Info("reloaded", "routes", len(now.loaded.Load().Set.Definitions))
		return nil
	}
	if errors.Is(err, host.ErrClosing) {
		return err // it is told to stop: nothing is wrong
	}
	what := "nothing has changed"
	if areRefused(err) {
		what = "some definitions are refused; what served before goes on"
	}
	g.sight.log.Error("reload: "+what, "error", err.Error())
	return err
}

// keep puts the settings that only a restart can change back to what they are, and returns their paths.
func keep(next, now *config.Settings) (waiting []string) {
	if next.Listen.Address != now.Listen.Address {
		waiting, next.Listen.Address = append(waiting, "listen.address"), now.Listen.Address
	}
	if next.Admin.Listen != now.Admin.Listen {
		waiting, next.Admin.Listen = append(waiting, "admin.listen"), now.Admin.Listen
	}
	if !reflect.DeepEqual(next.Admin.TLS, now.Admin.TLS) {
		waiting, next.Admin.TLS = append(waiting, "admin.tls"), now.Admin.TLS
	}
	return waiting
}

// changer is the gateway as the control API changes its settings.
type changer gateway

var _ admin.Settings = (*changer)(nil)

// List tells every setting as it holds.
func (c *changer) List() admin.SettingsState {
	now := (*gateway)(c).now.Load()
	from := now.from.Load()
	return admin.SettingsState{Changeable: now.s.Admin.Settings, ChangesFile: from.ChangesFile, Waiting: from.waiting, Settings: from.Values}
}

// Patch changes settings (see [admin.Settings]).
func (c *changer) Patch(ctx context.Context, patch []byte) ([]config.SettingValue, error) {
	return c.change(ctx, func(before settings.Changes) (settings.Changes, []string, error) {
		next, paths, err := before.Patched(patch)
		if err != nil {
			return nil, nil, refuse(http.StatusBadRequest, "the change is refused", lines(err)...)
		}
		return next, paths, nil
	})
}

// Unset takes back a change (see [admin.Settings]).
func (c *changer) Unset(ctx context.Context, path string) ([]config.SettingValue, error) {
	return c.change(ctx, func(before settings.Changes) (settings.Changes, []string, error) {
		next, found, err := before.Without(path)
		if err != nil {
			return nil, nil, refuse(http.StatusNotFound, err.Error())
		}
		if !found {
			return nil, nil, refuse(http.StatusNotFound, path+" has not been changed: there is nothing to take back")
		}
		return next, nil, nil
	})
}

func (c *changer) change(ctx context.Context, make func(settings.Changes) (settings.Changes, []string, error)) ([]config.SettingValue, error) {
	g := (*gateway)(c)
	var changed []config.SettingValue
	err := g.ask(ctx, func(ctx context.Context) error {
		now := g.now.Load()
		if !now.s.Admin.Settings {
			return refuseOff()
		}
		next, paths, err := make(now.from.Load().Changes)
		if err == nil {
			changed, err = g.apply(ctx, now, next, paths)
		}
		return err
	})
	if err != nil { // whoever asked may have left before it was done
		return nil, err
	}
	return changed, nil
}

func refuse(status int, message string, problems ...string) error {
	return &admin.RefusedChange{Status: status, Message: message, Problems: problems}
}

func refuseOff() error {
	return refuse(http.StatusForbidden, "settings cannot be changed while the gateway runs: admin.settings is off; switch it on in the settings file, or with TURNBUCKLE_ADMIN_SETTINGS=true and a restart")
}

// lines are the lines of an error: each is a problem of its own.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// apply has changes serve, and keeps them. paths are what is to be changed anew.
func (g *gateway) apply(ctx context.Context, now *generation, changes settings.Changes, paths []string) ([]config.SettingValue, error) {
	if slices.Contains(paths, "admin.settings") {
		return nil, refuse(http.StatusConflict, "admin.settings cannot be changed by what it permits: say it in the settings file, the environment or a flag")
	}
	l, err := g.o.Source.With(changes)
	if err != nil {
		return nil, refuse(http.StatusConflict, "the settings cannot be read again", lines(err)...)
	}
	if err := l.Problems.Err(); err != nil {
		return nil, refuse(http.StatusBadRequest, "the change is refused", lines(err)...)
	}
	if !l.Settings.Admin.Settings {
		return nil, refuseOff() // the file says so since
	}
	if why := overruled(l.Values, paths); why != nil {
		return nil, refuse(http.StatusConflict, "a stronger source says otherwise: change it there and restart the gateway", why...)
	}
	was := now.from.Load()
	waiting := keep(&l.Settings, now.s)
	if more := slices.DeleteFunc(slices.Clone(waiting), func(path string) bool { return slices.Contains(was.waiting, path) }); len(more) > 0 {
		return nil, refuse(http.StatusConflict, "only a restart can change this: say it in the settings file", more...)
	}
	changed := differences(was.Values, l.Values)
	if reflect.DeepEqual(&l.Settings, now.s) {
		if err := save(l); err != nil {
			return nil, err
		}
		now.from.Store(&origins{l, waiting})
		return changed, nil
	}
	next, err := g.prepare(ctx, l, now)
	if err != nil {
		return nil, refuseUnfit(err)
	}
	next.from.Store(&origins{l, waiting})
	if err := save(l); err != nil {
		return nil, errors.Join(err, g.discard(next))
	}
	g.adopt(next)
	g.sight.log.Info("settings changed", "settings", strings.Join(pathsOf(changed), ", "), "by", "control API")
	return changed, nil
}

func save(l *settings.Loaded) error {
	if err := l.Changes.Save(l.ChangesFile); err != nil {
		return refuse(http.StatusInternalServerError, "nothing has changed, since the change could not be kept: "+err.Error())
	}
	return nil
}

func refuseUnfit(err error) error {
	var u *unfit
	if errors.As(err, &u) {
		return refuse(http.StatusConflict, "the gateway cannot serve with this change; nothing has changed", u.reasons...)
	}
	return err
}

// overruled lists the paths that were to be changed and that a stronger source says.
func overruled(values []config.SettingValue, paths []string) []string {
	var why []string
	for _, v := range values {
		if !slices.Contains(paths, v.Path) {
			continue
		}
		switch v.Source {
		case config.OriginEnvironment:
			why = append(why, v.Path+" is said by the environment variable "+v.Where)
		case config.OriginFlag:
			why = append(why, v.Path+" is said by a flag")
		case config.OriginDefault, config.OriginTykConf, config.OriginFile:
			why = append(why, v.Path+" is said by its alternative, in the environment or by a flag")
		case config.OriginChange:
		}
	}
	return why
}

// differences lists the values that are not what they were, or come from elsewhere. Of secrets only that is known which
// their source shows.
func differences(before, after []config.SettingValue) []config.SettingValue {
	was := map[string]config.SettingValue{}
	for _, v := range before {
		was[v.Path] = v
	}
	changed := []config.SettingValue{}
	for _, v := range after {
		b, there := was[v.Path]
		b.Where = v.Where // lines move
		if !there && v.Source != config.OriginDefault || there && !reflect.DeepEqual(b, v) {
			changed = append(changed, v)
		}
	}
	return changed
}

func pathsOf(values []config.SettingValue) []string {
	paths := make([]string, len(values))
	for i, v := range values {
		paths[i] = v.Path
	}
	return paths
}
