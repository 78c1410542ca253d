package statecmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
)

// A Row is what status says of one name.
type Row struct {
	Name string `json:"name"`
	// Running is what the gateway runs, in Definitions, of which Stale go on although their newer form is refused; nil when
	// it runs none of the name, or was not asked. Refused is why its last try to load the name failed.
	Running     *bundled.Decision `json:"running,omitempty"`
	Definitions []string          `json:"definitions,omitempty"`
	Stale       []string          `json:"stale,omitempty"`
	Refused     *shelf.Refused    `json:"refused,omitempty"`
	// File is what is in the folder of bundles, and whether it would load today.
	File *bundled.Decision `json:"file,omitempty"`
	// Would is whether File would load by the other trust that was asked about.
	Would *bundled.Decision `json:"would,omitempty"`
	// Seen is the highest release that was accepted.
	Seen *trust.Record `json:"seen,omitempty"`
}

// Status is what status says.
type Status struct {
	Bundles   []*Row           `json:"bundles"`
	KeyRing   *trust.Seen      `json:"key_ring,omitempty"`
	Index     *trust.Seen      `json:"index,omitempty"`
	Revoked   trust.Revoked    `json:"revoked"`
	Overrides []trust.Override `json:"overrides"`
	// Stops are names that load and would not by the other trust.
	Stops []string `json:"stops,omitempty"`
}

// statusFlags are those of status.
type statusFlags struct {
	trust, other  bundled.Trust
	data, bundles string
	asJSON        bool
}

func statusCommand(e console.Env, running Gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, which key vouched for it, and what would stop loading",
		Long: `Status shows for each name what is in the folder of bundles and whether it would load, which keys vouch for it, and
the highest release that the gateway has accepted, below which it does not go back.

With --admin, or with the secret of a control listener, it asks the gateway that runs: which releases those are, in which
definitions, and why it refused others; --if-policy then asks what of that would stop loading. The folder of bundles is
looked at besides when it is said whom to trust.

The --if flags ask about other trust than is in force: the column WOULD says what would come of it, and the exit code
is 1 when something that loads would not any more. Nothing is changed.`,
		Example: `  turnbuckle bundle status --public-key release.pub
  turnbuckle bundle status --admin http://127.0.0.1:8081 --admin-secret-file secret
  turnbuckle bundle status --admin-secret-file secret --if-policy stricter.json
  turnbuckle bundle status --public-key old.pub --public-key new.pub --if-public-key new.pub
  turnbuckle bundle status --keyring ring --keyring-sha256 e3b0c4… --if-policy stricter.json --json | jq .stops`,
		Args: cobra.NoArgs,
	}
	f := &statusFlags{}
	running.AddFlags(cmd)
	AddTrustFlags(cmd, &f.trust, "")
	AddTrustFlags(cmd, &f.other, "if-")
	cmd.Flags().StringVar(&f.data, "data", "data", "the gateway's `FOLDER` of data")
	cmd.Flags().StringVar(&f.bundles, "bundles", "plugins.d", "`FOLDER` of bundles")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := f.status(cmd.Context(), e, running)
		if err != nil {
			return err
		}
		if f.asJSON {
			err = e.JSON(s)
		} else {
			err = f.print(e, s)
		}
		if err == nil && len(s.Stops) > 0 {
			err = console.ErrSaid
		}
		return err
	}
	return cmd
}

// asksIf is whether another trust is asked about.
func (f *statusFlags) asksIf() bool { return !reflect.DeepEqual(f.other, bundled.Trust{}) }

func (f *statusFlags) status(ctx context.Context, e console.Env, running Gateway) (*Status, error) {
	state, err := readState(f.data)
	if err != nil {
		return nil, err
	}
	out := &Status{Revoked: state.Revoked, Overrides: state.Overrides}
	if state.KeyRing.Version > 0 {
		out.KeyRing = &state.KeyRing
	}
	if state.Index.Version > 0 {
		out.Index = &state.Index
	}
	rows := map[string]*Row{}
	for name, seen := range state.Names {
		rows[name] = &Row{Name: name, Seen: &seen}
	}
	asked := running.Asked()
	if !asked || !reflect.DeepEqual(f.trust, bundled.Trust{}) {
		if err := f.survey(ctx, e, out, rows); err != nil {
			return nil, err
		}
	}
	if asked {
		if err := f.running(ctx, running, out, rows); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		out.Bundles = append(out.Bundles, rows[name])
	}
	return out, nil
}

// running asks the gateway.
func (f *statusFlags) running(ctx context.Context, gateway Gateway, out *Status, rows map[string]*Row) error {
	var told shelf.Status
	if err := gateway.Status(ctx, &told); err != nil {
		return err
	}
	for _, b := range told.Bundles {
		row := rowOf(rows, b.Name)
		if row.Running != nil { // another release of the name, that was put in its place and is not ready
			row = &Row{Name: b.Name}
			rows[b.Name+" "+b.Running.Verdict.ArchiveSHA256] = row
		}
		row.Running, row.Definitions, row.Stale, row.Refused = b.Running, b.Definitions, b.Stale, b.Refused
	}
	if f.other.Policy == "" {
		return nil
	}
	policy, err := source.ReadDocument(f.other.Policy, trust.MaxDocument)
	if err != nil {
		return err
	}
	var would struct {
		Bundles []bundled.Decision `json:"bundles"`
	}
	if err := gateway.Try(ctx, policy, &would); err != nil {
		return err
	}
	for _, d := range would.Bundles {
		rowOf(rows, d.Name).Would = &d
		if !d.OK && !slices.Contains(out.Stops, d.Name) {
			out.Stops = append(out.Stops, d.Name)
		}
	}
	return nil
}

// survey judges the files by the trust that is given, and by the other one.
func (f *statusFlags) survey(ctx context.Context, e console.Env, out *Status, rows map[string]*Row) error {
	if _, err := os.Stat(f.bundles); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data := f.data
	if _, err := os.Stat(bundled.StateFile(f.data)); err != nil {
		data = "" // nothing was seen, and looking begins nothing
	}
	v, err := Verifier(ctx, e, f.trust, data)
	if err != nil {
		return err
	}
	found, err := bundled.Survey(ctx, f.bundles, v)
	if err != nil {
		return err
	}
	for _, d := range found {
		rowOf(rows, d.Name).File = &d
	}
	if !f.asksIf() {
		return nil
	}
	if v, err = Verifier(ctx, e, f.other, data); err != nil {
		return fmt.Errorf("the other trust: %w", err)
	}
	would, err := bundled.Survey(ctx, f.bundles, v)
	if err != nil {
		return err
	}
	for _, d := range would {
		row := rowOf(rows, d.Name)
		row.Would = &d
		if row.File != nil && row.File.OK && !d.OK {
			out.Stops = append(out.Stops, d.Name)
		}
	}
	return nil
}

// rowOf is the row of what is asked for by a name: several files may be one name's.
func rowOf(rows map[string]*Row, asked string) *Row {
	name, _ := manifest.Identity(asked)
	if row := rows[name]; row != nil && (row.File == nil || row.File.Name == asked) {
		return row
	}
	if rows[asked] == nil {
		rows[asked] = &Row{Name: asked}
		if row := rows[name]; row != nil {
			rows[asked].Seen = row.Seen
		}
	}
	return rows[asked]
}

// readState reads trust.json without beginning one.
func readState(data string) (trust.State, error) {
	path := bundled.StateFile(data)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return trust.State{}, nil
	}
	text, err := source.ReadDocument(path, trust.MaxDocument)
	if err != nil {
		return trust.State{}, err
	}
	return trust.ParseState(text)
}

func (f *statusFlags) print(e console.Env, s *Status) error {
	if len(s.Bundles) == 0 {
		e.Note("no bundles in %s, and none was seen (%s)", f.bundles, bundled.StateFile(f.data))
		return nil
	}
	header := []string{"NAME", "VERSION", "STATE", "KEYS", "SEEN"}
	if f.asksIf() {
		header = append(header, "WOULD")
	}
	rows := make([][]string, len(s.Bundles))
	for i, r := range s.Bundles {
		rows[i] = r.cells(f.asksIf())
	}
	if err := e.Table(header, rows); err != nil {
		return err
	}
	for _, r := range s.Bundles {
		for _, d := range []*bundled.Decision{r.File, r.Would} {
			if d != nil && !d.OK {
				e.Say("%s: %s: %s (%s)", d.Name, console.Printable(d.Message), d.Advice, d.Reason)
				break
			}
		}
	}
	for _, r := range s.Bundles {
		if len(r.Definitions) > 0 {
			e.Say("%s runs in %s", r.Name, console.Printable(strings.Join(r.Definitions, ", ")))
		}
		if r.Refused != nil {
			e.Say("%s: the gateway refused it: %s: %s (%s)", r.Name, console.Printable(r.Refused.Message), r.Refused.Advice, r.Refused.Reason)
		}
	}
	for _, o := range s.Overrides {
		e.Say("rollback: %s may load %s until %s: %s", o.Name, console.Short(o.Digest), o.Until.Format("2006-01-02 15:04:05"), console.Printable(o.Reason))
	}
	for _, k := range s.Revoked.Keys {
		e.Say("revoked: key %s: %s", console.Short(k.ID), cmp.Or(console.Printable(k.Reason), "no reason given"))
	}
	for _, d := range s.Revoked.Bundles {
		e.Say("revoked: bundle %s", console.Short(d))
	}
	for _, r := range s.Revoked.Serials {
		e.Say("revoked: %s, serials %d to %d", r.Name, r.From, r.To)
	}
	return nil
}

func (r *Row) cells(would bool) []string {
	row := []string{r.Name, "", "", "", ""}
	d := r.Running
	if d == nil {
		d = r.File
	}
	switch {
	case d == nil && r.Refused != nil:
		row[2] = "refused: " + r.Refused.Reason
	case d == nil:
		row[2] = "no file"
	case !d.OK:
		row[2] = "refused: " + string(d.Reason)
	default:
		row[1], row[2], row[3] = d.Verdict.Release.Version, "loads", console.Shorts(d.Verdict.Keys)
		if r.Running != nil {
			row[2] = "runs"
		}
		if doubts := d.Doubts(); len(doubts) > 0 {
			row[2] += ", " + strings.Join(doubts, ", ")
		}
	}
	if r.Seen != nil {
		row[4] = r.Seen.Version
	}
	if would {
		row = append(row, outcome(r.Would))
	}
	return row
}

func outcome(d *bundled.Decision) string {
	switch {
	case d == nil:
		return ""
	case d.OK:
		return "load"
	}
	return "refuse: " + string(d.Reason)
}
