package effects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

func observer(ctx context.Context, t *kit.Trial) error {
	server, err := t.Runtime(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	id := fmt.Sprintf("observed-%d", time.Now().UnixNano())
	batch := sdk.Batch{
		Records: []sdk.Record{{RequestID: id, Status: 200, Hooks: []sdk.HookRecord{{Name: "h"}}}},
		Events:  []sdk.Event{{Type: id, Route: "orders", Meta: map[string]string{"a": "b"}}},
	}
	if err := server.Observer(conformance.Watch).Observe(ctx, batch); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Subject.Options.Patience)
	defer cancel()
	c := &scene{phase: sdk.Pre, hooks: conforms(look)}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var report struct {
		Observed struct{ Records, Events []string }
	}
	for { // the batch is observed some time after it came, perhaps in another process of the server
		r, err := c.through(ctx, server)
		if err == nil {
			err = errors.Join(r.err, json.Unmarshal(r.after.Response.Body, &report))
		}
		if err != nil {
			return err
		}
		if slices.Contains(report.Observed.Records, id) && slices.Contains(report.Observed.Events, id) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the observer saw records %q and events %q, and not %s", report.Observed.Records, report.Observed.Events, id)
		}
	}
}
