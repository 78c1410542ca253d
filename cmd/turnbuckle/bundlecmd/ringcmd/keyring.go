package ringcmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

func keyringCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring",
		Short: "Make and change a key ring: whose signatures count, for which names",
		Long: `A key ring says which keys may sign bundles of which names, and what is revoked. It is a folder of signed versions,
1.dsse.json, 2.dsse.json and so on, each signed by the root keys of itself and of the one before: a gateway that trusts one
follows all the others. The root keys sign nothing else; keep them off the machines that release.

Where one key is enough, a gateway's --public-key needs no key ring.`,
		Example: `  turnbuckle bundle keyring init ring --root root.pub --publisher '*=release.pub' --key root.key
  turnbuckle bundle keyring add ring other.pub --publisher 'acme/*' --key root.key
  turnbuckle bundle keyring show ring`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(initCommand(e), showCommand(e), addCommand(e), removeCommand(e), epochCommand(e), renewCommand(e), signRingCommand(e))
	return cmd
}

// initFlags are those of keyring init.
type initFlags struct {
	root, index, publishers       []string
	rootThreshold, indexThreshold int
}

func initCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init FOLDER",
		Short: "Make the first version of a key ring",
		Long: `Init makes the first version of a key ring. A publisher is NAMES=KEYS: names with commas between, exact, of a folder
like acme/*, or * for all; public keys with commas between; and :N behind them where N of them have to sign.
It prints the digest by which gateways trust it.`,
		Example: `  turnbuckle bundle keyring init ring --root root.pub --publisher '*=release.pub' --index index.pub --key root.key
  turnbuckle bundle keyring init ring --root a.pub --root b.pub --root-threshold 2 \
    --publisher 'acme/*=release.pub,security.pub:2' --publisher 'legacy=tyk.pem' --key a.key --key b.key`,
		Args: cobra.ExactArgs(1),
	}
	c, f := &change{e: e}, &initFlags{}
	c.add(cmd, "8760h")
	for _, unused := range []string{"dry-run", "bundles", "policy"} {
		_ = cmd.Flags().MarkHidden(unused)
	}
	cmd.Flags().StringArrayVar(&f.root, "root", nil, "public key `FILE` that signs the key ring, repeated for several")
	cmd.Flags().IntVar(&f.rootThreshold, "root-threshold", 1, "`NUMBER` of root keys that have to sign")
	cmd.Flags().StringArrayVar(&f.index, "index", nil, "public key `FILE` that signs the index, repeated for several")
	cmd.Flags().IntVar(&f.indexThreshold, "index-threshold", 1, "`NUMBER` of index keys that have to sign")
	cmd.Flags().StringArrayVar(&f.publishers, "publisher", nil, "`NAMES=KEYS[:N]`, repeated for several")
	_ = cmd.MarkFlagRequired("root")
	_ = cmd.MarkFlagRequired("publisher")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c.dir = args[0]
		r, err := f.ring(e, c.expires)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(c.dir, 0o755); err != nil {
			return err
		}
		if versions, err := bundled.RingVersions(c.dir); err != nil || len(versions) > 0 {
			return errors.Join(err, fmt.Errorf("there is a key ring in %s", c.dir))
		}
		return c.publish(nil, r)
	}
	return cmd
}

// ring is the first version.
func (f *initFlags) ring(e console.Env, expires string) (*trust.KeyRing, error) {
	ends, err := e.Time(expires)
	if err != nil {
		return nil, err
	}
	r := &trust.KeyRing{Schema: 1, Version: 1, Expires: manifest.At(ends), Publishers: []trust.Publisher{}}
	for _, role := range []struct {
		role      *trust.Role
		files     []string
		threshold int
	}{{&r.Root, f.root, f.rootThreshold}, {&r.Index, f.index, f.indexThreshold}} {
		for _, file := range role.files {
			k, err := publicKey(file)
			if err != nil {
				return nil, err
			}
			addKey(r, k)
			role.role.Keys, role.role.Threshold = append(role.role.Keys, k.ID), role.threshold
		}
	}
	for _, text := range f.publishers {
		if err := parsePublisher(r, text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// parsePublisher adds a publisher written as NAMES=KEYS[:N].
func parsePublisher(r *trust.KeyRing, text string) error {
	names, files, ok := strings.Cut(text, "=")
	if !ok || names == "" || files == "" {
		return fmt.Errorf("--publisher: %q is not NAMES=KEYS, like 'acme/*=release.pub'", text)
	}
	p := trust.Publisher{Names: strings.Split(names, ","), Role: trust.Role{Threshold: 1}}
	if i := strings.LastIndexByte(files, ':'); i >= 0 {
		n, err := strconv.Atoi(files[i+1:])
		if err != nil {
			return fmt.Errorf("--publisher: %q: what follows the colon is no number", text)
		}
		files, p.Threshold = files[:i], n
	}
	for file := range strings.SplitSeq(files, ",") {
		k, err := publicKey(file)
		if err != nil {
			return err
		}
		addKey(r, k)
		p.Keys = append(p.Keys, k.ID)
	}
	r.Publishers = append(r.Publishers, p)
	return nil
}

// editCommand is a command that changes the key ring in the folder that is its first argument.
func editCommand(e console.Env, cmd *cobra.Command, edit func(r *trust.KeyRing, args []string) error) *cobra.Command {
	c := &change{e: e}
	c.add(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.dir = args[0]
		return c.run(cmd.Context(), func(r *trust.KeyRing) error { return edit(r, args[1:]) })
	}
	return cmd
}

func addCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add FOLDER PUBLIC-KEY",
		Short: "Let another key sign",
		Example: `  turnbuckle bundle keyring add ring release.pub --publisher 'acme/*' --key root.key
  turnbuckle bundle keyring add ring root2.pub --root --threshold 2 --key root.key --key root2.key`,
		Args: cobra.ExactArgs(2),
	}
	publisher := cmd.Flags().StringSlice("publisher", nil, "`NAMES` that it may sign: exact, of a folder like acme/*, or *")
	root := cmd.Flags().Bool("root", false, "it signs the key ring")
	index := cmd.Flags().Bool("index", false, "it signs the index")
	threshold := cmd.Flags().Int("threshold", 0, "`NUMBER` of keys of that role that have to sign (default as it is)")
	cmd.MarkFlagsOneRequired("publisher", "root", "index")
	cmd.MarkFlagsMutuallyExclusive("publisher", "root", "index")
	return editCommand(e, cmd, func(r *trust.KeyRing, args []string) error {
		k, err := publicKey(args[0])
		if err != nil {
			return err
		}
		addKey(r, k)
		role := &r.Root
		switch {
		case *root:
			addToRole(role, k.ID)
		case *index:
			role = &r.Index
			addToRole(role, k.ID)
		default:
			addPublisher(r, k.ID, *publisher)
			i := slices.IndexFunc(r.Publishers, func(p trust.Publisher) bool { return slices.Equal(p.Names, *publisher) })
			role = &r.Publishers[i].Role
		}
		if *threshold > 0 {
			role.Threshold = *threshold
		}
		return nil
	})
}

func removeCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove FOLDER KEY",
		Short: "Let a key sign no more, given as a file or by its id",
		Long: `Remove takes a key out of the key ring. What it alone has signed does not load any more, as with revoke; revoke also
says why, and keeps the key from coming back.`,
		Example: "  turnbuckle bundle keyring remove ring old.pub --key root.key --dry-run",
		Args:    cobra.ExactArgs(2),
	}
	return editCommand(e, cmd, func(r *trust.KeyRing, args []string) error {
		id, err := keyID(args[0])
		if err != nil {
			return err
		}
		return removeKey(r, id)
	})
}

func epochCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "epoch FOLDER NAMES NUMBER",
		Short: "Let the serials of names begin anew",
		Long: `Epoch is for names whose publisher's key was stolen and used to publish a release with the highest serial: nothing newer
could follow it. A higher epoch, which build takes with --epoch, comes after all releases of lower ones.`,
		Example: "  turnbuckle bundle keyring epoch ring acme/guard 2 --key root.key",
		Args:    cobra.ExactArgs(3),
	}
	return editCommand(e, cmd, func(r *trust.KeyRing, args []string) error {
		n, err := strconv.ParseUint(args[1], 10, 53)
		if err != nil {
			return fmt.Errorf("%q is no epoch: write 2, or 3", args[1])
		}
		r.Epochs = slices.DeleteFunc(r.Epochs, func(old trust.Epoch) bool { return old.Names == args[0] })
		r.Epochs = slices.Insert(r.Epochs, 0, trust.Epoch{Names: args[0], Epoch: n})
		return nil
	})
}

func renewCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "renew FOLDER",
		Short:   "Publish the same key ring with a later end",
		Example: "  turnbuckle bundle keyring renew ring --expires 8760h --key root.key",
		Args:    cobra.ExactArgs(1),
	}
	cmd = editCommand(e, cmd, func(*trust.KeyRing, []string) error { return nil })
	_ = cmd.MarkFlagRequired("expires")
	return cmd
}

func signRingCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign FOLDER",
		Short: "Add a root's signature to a version that needs more",
		Long: `Sign adds signatures to next.dsse.json, which a change leaves behind that not enough roots have signed. When there are
enough it gets its number.`,
		Example: "  turnbuckle bundle keyring sign ring --key root2.key",
		Args:    cobra.ExactArgs(1),
	}
	c := &change{e: e}
	cmd.Flags().StringArrayVar(&c.keys, "key", nil, "secret key `FILE` of a root of the key ring, repeated for several")
	cmd.Flags().StringVar(&c.passphrase, "passphrase-file", "", "`FILE` with the passphrase of the secret keys ($TURNBUCKLE_KEY_PASSPHRASE; asked for on a terminal)")
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "write JSON")
	_ = cmd.MarkFlagRequired("key")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c.dir = args[0]
		envelope, err := bundled.ReadEnvelope(filepath.Join(c.dir, nextFile), trust.KeyRingType)
		if err != nil {
			return hint.New(err, "keyring add, remove, renew and others make one when signatures are missing")
		}
		var before *trust.KeyRing
		if versionOf(envelope) > 1 {
			if before, _, err = bundled.ReadRing(c.dir, ""); err != nil {
				return err
			}
		}
		return c.sign(before, envelope)
	}
	return cmd
}

func showCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show FOLDER",
		Short: "Show the newest version of a key ring",
		Example: `  turnbuckle bundle keyring show ./keyring
  turnbuckle bundle keyring show --json ./keyring`,
		Args: cobra.ExactArgs(1),
	}
	pin := cmd.Flags().String("keyring-sha256", "", "`DIGEST` of the first key ring that is trusted (default: the oldest in the folder)")
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		r, digest, err := bundled.ReadRing(args[0], *pin)
		if err != nil {
			return err
		}
		if *asJSON {
			return e.JSON(r)
		}
		return showRing(e, r, digest)
	}
	return cmd
}

func showRing(e console.Env, r *trust.KeyRing, digest string) error {
	state := ""
	if err := r.Current(e.Now()); err != nil {
		state = ", which is over"
	}
	e.Say("version %d, ends %s%s, sha256 %s", r.Version, r.Expires.Format(time.DateTime), state, digest)
	rows := make([][]string, len(r.Keys))
	for i, k := range r.Keys {
		public, err := sign.ParseSPKI(k.SPKI)
		if err != nil {
			return err
		}
		rows[i] = []string{console.Short(k.ID), string(public.Algorithm()), strings.Join(rolesOf(r, k.ID), "; "), until(r, k), k.Comment}
	}
	return e.Table([]string{"KEY", "ALGORITHM", "SIGNS", "UNTIL", "COMMENT"}, rows)
}

// rolesOf says what a key signs.
func rolesOf(r *trust.KeyRing, id string) []string {
	var signs []string
	add := func(what string, role trust.Role) {
		if slices.Contains(role.Keys, id) {
			signs = append(signs, fmt.Sprintf("%s (%d of %d)", what, role.Threshold, len(role.Keys)))
		}
	}
	add("the ring", r.Root)
	add("the index", r.Index)
	for _, p := range r.Publishers {
		add(strings.Join(p.Names, ","), p.Role)
	}
	return signs
}

// until says until when a key counts.
func until(r *trust.KeyRing, k trust.Key) string {
	for _, revoked := range r.Revoked.Keys {
		if revoked.ID == k.ID {
			return "revoked"
		}
	}
	if k.NotAfter.IsZero() {
		return ""
	}
	return k.NotAfter.Format(time.DateTime)
}
