package tykapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxBatch is how many requests one TykBatchRequest may make.
const maxBatch = 64

// httpCall is what TykMakeHttpRequest is given. Keys match without regard to case.
type httpCall struct {
	Method   string
	Body     string
	Headers  map[string]string
	Domain   string
	Resource string
	FormData map[string]string
}

// httpReply is what it returns, twice: plugins use both spellings.
type httpReply struct {
	Code         int
	Body         string
	Headers      map[string][]string
	CodeLower    int                 `json:"code"`
	BodyLower    string              `json:"body"`
	HeadersLower map[string][]string `json:"headers"`
}

func headerList(h map[string]string) []sdk.Field {
	var all []sdk.Field
	for _, name := range slices.Sorted(maps.Keys(h)) {
		all = append(all, sdk.Field{Name: name, Value: h[name]})
	}
	return all
}

func headerLists(fields []sdk.Field) map[string][]string {
	all := map[string][]string{}
	for _, f := range fields {
		all[f.Name] = append(all[f.Name], f.Value)
	}
	return all
}

// fetch is TykMakeHttpRequest: undefined when there is no reply, and the log says why.
func fetch(vm *engine.VM, s *state, text string) goja.Value {
	var in httpCall
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		s.log(vm, slog.LevelError, "TykMakeHttpRequest: its argument is not as it should be: "+err.Error())
		return goja.Undefined()
	}
	if in.Body == "" && len(in.FormData) > 0 {
		form := url.Values{}
		for name, value := range in.FormData {
			form.Set(name, value)
		}
		in.Body = form.Encode()
	}
	reply, err := send(vm, script.HTTPRequest{Method: in.Method, URL: in.Domain + in.Resource, Header: headerList(in.Headers), Body: []byte(in.Body)})
	if err != nil {
		s.log(vm, slog.LevelError, "TykMakeHttpRequest: "+err.Error())
		return goja.Undefined()
	}
	out := httpReply{Code: reply.Status, Body: string(reply.Body), Headers: headerLists(reply.Header)}
	out.CodeLower, out.BodyLower, out.HeadersLower = out.Code, out.Body, out.Headers
	return jsonText(vm, &out)
}

func send(vm *engine.VM, r script.HTTPRequest) (reply *script.HTTPReply, err error) {
	client := vm.Plugin().Services.HTTP
	if client == nil {
		return nil, script.ErrNoService
	}
	vm.Outside(func(ctx context.Context) error {
		reply, err = client.Do(ctx, vm.By(), r)
		return ctx.Err()
	})
	return reply, err
}

type batchCall struct {
	Requests []struct {
		Method      string            `json:"method"`
		Headers     map[string]string `json:"headers"`
		Body        string            `json:"body"`
		RelativeURL string            `json:"relative_url"`
	} `json:"requests"`
	Serial bool `json:"suppress_parallel_execution"`
}

type batchReply struct {
	RelativeURL string              `json:"relative_url"`
	Code        int                 `json:"code"`
	Headers     map[string][]string `json:"headers"`
	Body        string              `json:"body"`
}

// batch is TykBatchRequest. Replies to requests that are sent side by side come in order of arrival; a request without a
// reply has code 0 and says why in its body.
func batch(vm *engine.VM, s *state, text string) goja.Value {
	var in batchCall
	client := vm.Plugin().Services.HTTP
	err := json.Unmarshal([]byte(text), &in)
	switch {
	case err != nil:
	case client == nil:
		err = script.ErrNoService
	case len(in.Requests) > maxBatch:
		err = fmt.Errorf("%d requests, at most %d", len(in.Requests), maxBatch)
	}
	if err != nil {
		s.log(vm, slog.LevelError, "TykBatchRequest: "+err.Error())
		return goja.Undefined()
	}
	replies := make(chan batchReply, len(in.Requests))
	var out []batchReply
	by := vm.By()
	vm.Outside(func(ctx context.Context) error {
		for _, r := range in.Requests {
			one := func() {
				made := batchReply{RelativeURL: r.RelativeURL}
				reply, err := client.Do(ctx, by, script.HTTPRequest{Method: r.Method, URL: r.RelativeURL, Header: headerList(r.Headers), Body: []byte(r.Body)})
				if err != nil {
					made.Body = err.Error()
				} else {
					made.Code, made.Headers, made.Body = reply.Status, headerLists(reply.Header), string(reply.Body)
				}
				replies <- made
			}
			if in.Serial {
				one()
			} else {
				go one() // each ends with ctx, and all are waited for below
			}
		}
		for range in.Requests {
			out = append(out, <-replies)
		}
		return ctx.Err()
	})
	return jsonText(vm, out)
}

func jsonText(vm *engine.VM, v any) goja.Value {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		vm.Fail(err)
	}
	return vm.Text(strings.TrimSuffix(b.String(), "\n"))
}

// getKey is TykGetKeyData.
func getKey(vm *engine.VM, s *state, c goja.FunctionCall) goja.Value {
	keys, route := vm.Plugin().Services.Keys, s.owner()
	if keys == nil || route == nil {
		vm.Fail(fmt.Errorf("TykGetKeyData: %w", script.ErrNoService))
	}
	key, api := engine.Bytes(c.Argument(0)), engine.Bytes(c.Argument(1))
	if goja.IsUndefined(c.Argument(1)) {
		api = ""
	}
	var found []byte
	var err error
	vm.Outside(func(ctx context.Context) error {
		found, err = keys.GetKeyData(ctx, route, key, api)
		return ctx.Err()
	})
	if err != nil {
		if !errors.Is(err, script.ErrNoKey) {
			s.log(vm, slog.LevelError, "TykGetKeyData: "+err.Error())
		}
		return vm.Text(`{"status":"error","message":"Key not found"}`)
	}
	return vm.Text(string(found))
}

// setKey is TykSetKeyData. A key that could not be stored is a line in the log, as scripts do not expect an error.
func setKey(vm *engine.VM, s *state, c goja.FunctionCall) goja.Value {
	keys, route := vm.Plugin().Services.Keys, s.owner()
	if keys == nil || route == nil {
		vm.Fail(fmt.Errorf("TykSetKeyData: %w", script.ErrNoService))
	}
	key, session, keep := engine.Bytes(c.Argument(0)), engine.Bytes(c.Argument(1)), c.Argument(2).String() == "1"
	var err error
	vm.Outside(func(ctx context.Context) error {
		err = keys.SetKeyData(ctx, route, key, []byte(session), keep)
		return ctx.Err()
	})
	if err != nil {
		s.log(vm, slog.LevelError, "TykSetKeyData: "+err.Error())
	}
	return goja.Undefined()
}

// storage are the functions TykStorage*, which throw when they fail.
func storage(vm *engine.VM) map[string]func(goja.FunctionCall) goja.Value {
	with := func(f func(ctx context.Context, store *script.Store, key string, c goja.FunctionCall) (any, error)) func(goja.FunctionCall) goja.Value {
		return func(c goja.FunctionCall) goja.Value {
			store := vm.Plugin().Services.Store
			if store == nil {
				vm.Fail(fmt.Errorf("TykStorage: %w", script.ErrNoService))
			}
			var out any
			key := engine.Bytes(c.Argument(0))
			vm.Outside(func(ctx context.Context) (err error) {
				out, err = f(ctx, store, key, c)
				return err
			})
			switch v := out.(type) {
			case nil:
				return goja.Null()
			case string:
				return vm.Text(v)
			case struct{}:
				return goja.Undefined()
			}
			return vm.JS.ToValue(out)
		}
	}
	return map[string]func(goja.FunctionCall) goja.Value{
		"TykStorageGet": with(func(ctx context.Context, s *script.Store, key string, _ goja.FunctionCall) (any, error) {
			value, ok, err := s.Get(ctx, key)
			if !ok {
				return nil, err
			}
			return string(value), err
		}),
		"TykStorageSet": with(func(ctx context.Context, s *script.Store, key string, c goja.FunctionCall) (any, error) {
			return struct{}{}, s.Set(ctx, key, []byte(engine.Bytes(c.Argument(1))), seconds(c.Argument(2)))
		}),
		"TykStorageSetNX": with(func(ctx context.Context, s *script.Store, key string, c goja.FunctionCall) (any, error) {
			return s.SetNew(ctx, key, []byte(engine.Bytes(c.Argument(1))), seconds(c.Argument(2)))
		}),
		"TykStorageDel": with(func(ctx context.Context, s *script.Store, key string, _ goja.FunctionCall) (any, error) {
			return struct{}{}, s.Delete(ctx, key)
		}),
		"TykStorageTTL": with(func(ctx context.Context, s *script.Store, key string, _ goja.FunctionCall) (any, error) {
			left, ok, err := s.TTL(ctx, key)
			switch {
			case !ok:
				return -2, err
			case left == 0:
				return -1, err
			}
			return int64((left + time.Second - 1) / time.Second), err
		}),
		"TykStorageIncr": with(func(ctx context.Context, s *script.Store, key string, c goja.FunctionCall) (any, error) {
			sum, err := s.Add(ctx, key, 1, seconds(c.Argument(1)))
			return strconv.FormatInt(sum, 10), err
		}),
	}
}

func seconds(v goja.Value) time.Duration {
	if goja.IsUndefined(v) || goja.IsNull(v) {
		return 0
	}
	return time.Duration(engine.Clamp(v, 0, 1<<32) * float64(time.Second))
}
