package bundlecmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/statecmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

func verifyCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Say whether a gateway that trusts these keys would load a bundle, and why not",
		Long: `Verify decides as the gateway does: whom it trusts say --public-key, or --policy and --keyring. It unpacks nothing and
changes nothing. A bundle is held to the name that --name says a definition asks for, and otherwise to the one it gives
itself; a bundle of Tyk has none and takes the file's. With --data it is also held to what the gateway there has seen: an
older release than that is refused.`,
		Example: `  turnbuckle bundle verify my-plugin-1.0.0.zip --public-key release.pub
  turnbuckle bundle verify my-plugin-1.0.0.zip --keyring ring --keyring-sha256 e3b0c4… --policy policy.json --data data
  turnbuckle bundle verify old.zip --public-key tyk.pem --trust-tyk-wiring
  turnbuckle bundle verify plugins/*.zip --public-key release.pub --json | jq '.bundles[] | select(.ok == false)'`,
		Args: cobra.MinimumNArgs(1),
	}
	var t bundled.Trust
	statecmd.AddTrustFlags(cmd, &t, "")
	name := cmd.Flags().String("name", "", "`NAME` that a definition asks for (default: what the bundle calls itself)")
	data := cmd.Flags().String("data", "", "the gateway's `FOLDER` of data, for what it has seen (default none)")
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := statecmd.Verifier(cmd.Context(), e, t, *data)
		if err != nil {
			return err
		}
		var all []bundled.Decision
		for _, file := range args {
			all = append(all, verify(v, file, *name))
		}
		return tellDecisions(e, all, *asJSON)
	}
	return cmd
}

func verify(v *bundles.Verifier, file, name string) bundled.Decision {
	got, err := readArchive(file)
	if err != nil {
		return bundled.Decide(name, file, nil, err)
	}
	if name == "" {
		name = ownName(file, got)
	}
	b, err := v.Verify(bundles.Request{Name: name, Archive: got.Archive, Adoption: got.Adoption})
	return bundled.Decide(name, file, b, err)
}

// ownName is what a bundle calls itself; nothing about that is verified.
func ownName(file string, got source.Fetched) string {
	if seen, err := bundles.Inspect(got.Archive, limits()); err == nil && seen.Bundle != nil {
		return seen.Bundle.Name
	}
	if got.Adoption != nil {
		if e, err := sign.DecodeEnvelope(got.Adoption, manifest.AdoptionType, limits().Envelope); err == nil {
			if a, err := manifest.ParseAdoption(e.Payload); err == nil {
				return a.Name
			}
		}
	}
	return filepath.Base(file)
}

func tellDecisions(e console.Env, all []bundled.Decision, asJSON bool) error {
	ok := true
	for _, d := range all {
		ok = ok && d.OK
		if asJSON {
			continue
		}
		if !d.OK {
			e.Say("%s: refused (%s): %s", d.Origin, d.Reason, console.Printable(d.Message))
			e.Say("  %s", d.Advice)
			continue
		}
		e.Say("%s: good: %s", d.Origin, verdict(d))
		for _, doubt := range d.Doubts() {
			e.Say("  %s", statecmd.Explain(doubt))
		}
	}
	if asJSON {
		if err := e.JSON(map[string]any{"ok": ok, "bundles": all}); err != nil {
			return err
		}
	}
	if !ok {
		return console.ErrSaid
	}
	return nil
}

// verdict says in a few words what was found out.
func verdict(d bundled.Decision) string {
	v := d.Verdict
	what := v.Name
	if v.Release.Version != "" {
		what = v.Release.Name + " " + v.Release.Version
	}
	by := "nobody vouches for it"
	if len(v.Keys) > 0 {
		by = "key " + console.Shorts(v.Keys) + " vouches for it"
	}
	return fmt.Sprintf("%s, %s (rule %s)", what, by, v.Rule)
}

func inspectCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a bundle, a key ring or an index says, trusting nobody",
		Long: `Inspect shows what is in a bundle of ours or of Tyk, or in a signed key ring, index or countersignature. That its parts
fit together is checked; who signed it is what it says itself: verify asks whether to believe it.`,
		Example: `  turnbuckle bundle inspect my-plugin-1.0.0.zip
  turnbuckle bundle inspect old.zip --json | jq .tyk.custom_middleware
  turnbuckle bundle inspect ring/1.dsse.json`,
		Args: cobra.ExactArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return inspect(e, args[0], *asJSON) }
	return cmd
}

func inspect(e console.Env, file string, asJSON bool) error {
	got, err := readArchive(file)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(got.Archive, []byte("{")) {
		return inspectEnvelope(e, got.Archive, asJSON)
	}
	seen, err := bundles.Inspect(got.Archive, limits())
	if err != nil {
		return err
	}
	if asJSON {
		return e.JSON(seen)
	}
	e.Say("archive    %d bytes, sha256 %s", seen.Size, seen.ArchiveSHA256)
	if seen.Tyk != nil {
		return inspectTyk(e, seen, got.Adoption != nil)
	}
	b := seen.Bundle
	e.Say("bundle     %s %s, serial %d, epoch %d, created %s", b.Name, b.Version, b.Serial, b.Epoch, text(b.Created))
	if !b.NotAfter.IsZero() {
		e.Say("ends       %s", text(b.NotAfter))
	}
	e.Say("digest     %s", seen.Digest)
	e.Say("signers    %s", orNone(strings.Join(seen.Signers, ", ")))
	if len(b.Platforms) > 0 {
		e.Say("platforms  %s", strings.Join(b.Platforms, ", "))
	}
	if b.Requires != (manifest.Requires{}) {
		e.Say("requires   gateway %s, sandbox %s", orNone(b.Requires.Host), orNone(b.Requires.Sandbox))
	}
	rows := make([][]string, len(b.Files))
	for i, f := range b.Files {
		mode := ""
		if f.Exec {
			mode = "executable"
		}
		rows[i] = []string{f.Path, fmt.Sprint(f.Size), f.SHA256, mode}
	}
	return e.Table([]string{"FILE", "SIZE", "SHA256", "MODE"}, rows)
}

func inspectTyk(e console.Env, seen bundles.Inspection, adopted bool) error {
	m := seen.Tyk
	signed := "no, nobody has signed it"
	if m.Signature != "" {
		signed = "its files, and not which of them run where"
	}
	e.Say("bundle     of Tyk, driver %s", orNone(console.Printable(m.Middleware.Driver)))
	e.Say("signed     %s", signed)
	e.Say("manifest   sha256 %s", seen.ManifestSHA256)
	e.Say("adopted    %v", adopted)
	e.Say("files      %s", orNone(console.Printable(strings.Join(m.FileList, ", "))))
	if len(seen.Unlisted) > 0 {
		e.Say("left out   %s: manifest.json does not list them", console.Printable(strings.Join(seen.Unlisted, ", ")))
	}
	return hooksOf(e, seen)
}

// hooksOf prints the wiring of a bundle of Tyk.
func hooksOf(e console.Env, seen bundles.Inspection) error {
	m := seen.Tyk.Middleware
	var rows [][]string
	for _, phase := range []struct {
		name  string
		hooks []tyk.Hook
	}{
		{"pre", m.Pre}, {"auth_check", []tyk.Hook{m.AuthCheck}}, {"post_key_auth", m.PostKeyAuth}, {"post", m.Post},
		{"response", m.Response}, {"traffic_logs", m.TrafficLogs},
	} {
		for _, h := range phase.hooks {
			if h.Name == "" && h.Path == "" && h.Code == "" {
				continue
			}
			from := h.Path
			if h.Code != "" {
				from = "manifest.json itself"
			}
			rows = append(rows, []string{phase.name, h.Name, from})
		}
	}
	return e.Table([]string{"PHASE", "HOOK", "CODE"}, rows)
}

// inspectEnvelope shows what is signed, as it stands.
func inspectEnvelope(e console.Env, data []byte, asJSON bool) error {
	var head struct {
		PayloadType string `json:"payloadType"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return refusal.New(refusal.Envelope, "neither an archive nor an envelope: %w", err)
	}
	envelope, err := sign.DecodeEnvelope(data, head.PayloadType, trust.MaxDocument)
	if err != nil {
		return err
	}
	var signers []string
	for _, s := range envelope.Signatures {
		signers = append(signers, s.KeyID)
	}
	if asJSON {
		return e.JSON(map[string]any{"type": envelope.PayloadType, "digest": envelope.Digest(), "signers": signers, "payload": json.RawMessage(envelope.Payload)})
	}
	e.Say("type     %s", console.Printable(envelope.PayloadType))
	e.Say("digest   %s", envelope.Digest())
	e.Say("signers  %s", orNone(strings.Join(signers, ", ")))
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, envelope.Payload, "", "  "); err != nil {
		return refusal.New(refusal.Payload, "what is signed: %w", err)
	}
	for line := range strings.Lines(pretty.String()) {
		e.Say("%s", console.Printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func text(t manifest.Time) string {
	b, err := t.MarshalText()
	if err != nil {
		return "-"
	}
	return string(b)
}
