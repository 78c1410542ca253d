package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/archive"
)

const secretsInside = `The archive holds secrets: API definitions as they are written, HMAC and JWT secrets, hashes of passwords, and the
keys themselves where keys.hash is none. Whoever has it can act for their holders; export makes it readable by you alone.`

func exportCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write organisations, APIs, policies and keys of a running gateway into one file",
		Long: `Export asks the control listener of a running gateway for an archive and writes it to FILE, or to standard output
when FILE is -. An archive is text, a JSON object a line. It has no counters: what is used of quotas stays behind. Hashed keys
stay hashed, so that they go on working where the archive is imported.

` + secretsInside,
		Example: `  turnbuckle export gateway.ndjson
  turnbuckle export - | gpg -e -r ops > gateway.ndjson.gpg`,
		Args: cobra.ExactArgs(1),
	}
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		reply, err := cl.send(cmd.Context(), "GET", "/v1/export", nil, nil)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		var counts archive.Counts
		if args[0] == "-" {
			counts, err = copyArchive(c.e.Stdout, reply.Body)
		} else {
			counts, err = saveArchive(args[0], reply.Body)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(c.e.Stderr, "exported %s\n", counted(counts))
		if counts.Unreadable > 0 {
			fmt.Fprintf(c.e.Stderr, "turnbuckle: note: left out %d things that cannot be read; turnbuckle check and turnbuckle key list name them\n", counts.Unreadable)
		}
		return nil
	}
	return cmd
}

func counted(c archive.Counts) string {
	return fmt.Sprintf("%d organisations, %d APIs, %d policies, %d keys", c.Orgs, c.APIs, c.Policies, c.Keys)
}

// copyArchive copies an archive and reads it on the way: one that breaks off is an error.
func copyArchive(to io.Writer, from io.Reader) (archive.Counts, error) {
	r, err := archive.NewReader(io.TeeReader(from, to))
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, io.EOF) {
		return archive.Counts{}, fmt.Errorf("the gateway's archive did not arrive whole: %w", err)
	}
	return r.Counts(), nil
}

// saveArchive writes an archive into a file that nobody else may read, and that is there whole or not at all.
func saveArchive(name string, from io.Reader) (counts archive.Counts, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*.part")
	if err != nil {
		return counts, err
	}
	counts, err = copyArchive(file, from)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return counts, errors.Join(err, os.Remove(file.Name()))
	}
	return counts, nil
}

func importCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Restore what export wrote into a running gateway",
		Long: `Import sends an archive to the control listener of a running gateway, from standard input when FILE is -. Everything in it
is checked first, and then restored under the same ids: all of it, or nothing. What is there under these ids is replaced,
what is there under others stays, and policies that stand in files of the gateway hold. Importing again changes nothing, and
completes an import that a failing Redis cluster left half done. An archive has at most 1 GiB; the gateway needs up to ten
times its size in memory while it restores it. APIs serve after a reload, which gateways do by themselves
that watch their files.

` + secretsInside,
		Example: `  turnbuckle import gateway.ndjson
  turnbuckle import --only policy,key gateway.ndjson
  gpg -d gateway.ndjson.gpg | turnbuckle import -`,
		Args: cobra.ExactArgs(1),
	}
	only := cmd.Flags().String("only", "", "`KINDS` to restore, some of org, api, policy and key with commas between (default all)")
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		from := c.e.Stdin
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return hint.New(err, "turnbuckle export writes one")
			}
			defer file.Close()
			from = file
		}
		query := url.Values{}
		if *only != "" {
			query.Set("only", *only)
		}
		reply, err := cl.send(cmd.Context(), "POST", "/v1/import", query, from)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		return told(c.e, reply.Body)
	}
	return cmd
}

// told prints what an import did.
func told(e Env, reply io.Reader) error {
	var done struct {
		archive.Restored
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	if err := json.NewDecoder(io.LimitReader(reply, maxReply)).Decode(&done); err != nil {
		return fmt.Errorf("the import is done; its reply cannot be read: %w", err)
	}
	fmt.Fprintf(e.Stdout, "restored %s\n", counted(done.Counts))
	if done.Kept > 0 {
		fmt.Fprintf(e.Stdout, "left out %d policies that stand in files of the gateway\n", done.Kept)
	}
	if done.Ended > 0 {
		fmt.Fprintf(e.Stdout, "left out %d keys whose time has come\n", done.Ended)
	}
	if done.Message != "" {
		fmt.Fprintln(e.Stderr, "turnbuckle: note: "+done.Message)
	}
	return nil
}
