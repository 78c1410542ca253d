package bundlecmd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// indexFlags are those of index.
type indexFlags struct {
	keys            keyFlags
	output, expires string
	keep, asJSON    bool
}

func indexCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index [FILE|FOLDER]...",
		Short: "Publish which release of each name is the newest",
		Long: `Index writes and signs a list of the newest release of each name. A gateway with --index loads no other than the listed
one, so that nobody who serves bundles can hold a release back. An index ends after a while: publish it again before.
Of several releases of a name in the files, the newest is listed. The next version follows the one in the file to be written.`,
		Example: `  turnbuckle bundle index plugins -o plugins/index.dsse.json --key index.key
  turnbuckle bundle index guard-1.3.0.zip --keep -o index.dsse.json --key index.key --expires 72h`,
	}
	f := &indexFlags{}
	f.keys.add(cmd, "key", "secret key `FILE` that the key ring has for the index, repeated for several")
	_ = cmd.MarkFlagRequired("key")
	cmd.Flags().StringVarP(&f.output, "output", "o", "index.dsse.json", "`FILE` to write")
	cmd.Flags().StringVar(&f.expires, "expires", "168h", "`TIME` at which it ends, or so long from now; 30 days at most")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "keep what the file to be written lists of other names")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return f.run(e, args) }
	return cmd
}

func (f *indexFlags) run(e console.Env, args []string) error {
	old, err := previous(f.output)
	if err != nil {
		return err
	}
	ends, err := e.Time(f.expires)
	if err != nil {
		return err
	}
	if ends.Sub(e.Now()) > trust.MaxIndexAge {
		return fmt.Errorf("--expires: an index ends within %d days, for it to say something of today", trust.MaxIndexAge/(24*time.Hour))
	}
	listed, err := listAll(args)
	if err != nil {
		return err
	}
	if f.keep {
		for _, l := range old.Bundles {
			if _, there := listed[l.Name]; !there {
				listed[l.Name] = l
			}
		}
	}
	x := &trust.Index{Schema: 1, Version: old.Version + 1, Expires: manifest.At(ends), Bundles: []trust.Listed{}}
	for _, l := range listed {
		x.Bundles = append(x.Bundles, l)
	}
	slices.SortFunc(x.Bundles, func(a, b trust.Listed) int { return cmp.Compare(a.Name, b.Name) })
	payload, err := x.Encode()
	if err != nil {
		return err
	}
	keys, err := f.keys.read(e)
	if err != nil {
		return err
	}
	envelope := sign.NewEnvelope(trust.IndexType, payload)
	for _, key := range keys {
		if envelope, err = envelope.Sign(key); err != nil {
			return err
		}
	}
	data, err := envelope.Encode()
	if err != nil {
		return err
	}
	if err := replaceFile(f.output, data); err != nil {
		return err
	}
	if f.asJSON {
		return e.JSON(x)
	}
	e.Say("%s: version %d, %d bundles, ends %s", f.output, x.Version, len(x.Bundles), text(x.Expires))
	rows := make([][]string, len(x.Bundles))
	for i, l := range x.Bundles {
		rows[i] = []string{l.Name, l.Version, fmt.Sprint(l.Serial), l.ArchiveSHA256}
	}
	return e.Table([]string{"NAME", "VERSION", "SERIAL", "ARCHIVE"}, rows)
}

// previous is the index in a file, an empty one of version 0 where there is none.
func previous(file string) (*trust.Index, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return &trust.Index{}, nil
	}
	envelope, err := bundled.ReadEnvelope(file, trust.IndexType)
	if err != nil {
		return nil, err
	}
	return trust.ParseIndex(envelope.Payload)
}

// listAll lists the newest release of each name.
func listAll(args []string) (map[string]trust.Listed, error) {
	files, err := archivesOf(args)
	if err != nil {
		return nil, err
	}
	newest := map[string]trust.Listed{}
	for _, file := range files {
		got, err := readArchive(file)
		if err != nil {
			return nil, err
		}
		l, err := bundles.List(got.Archive, got.Adoption, limits())
		if refusal.CodeOf(err) == refusal.Unsigned {
			return nil, hint.New(fmt.Errorf("%s: a bundle of Tyk has no release that could be listed (%s)", file, refusal.Unsigned), "turnbuckle bundle adopt gives it one")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		old, there := newest[l.Name]
		if !there || cmp.Or(cmp.Compare(l.Epoch, old.Epoch), cmp.Compare(l.Serial, old.Serial)) > 0 {
			newest[l.Name] = l
		}
	}
	return newest, nil
}
