package client

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

func keyCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, list, show and delete the keys of a running gateway",
		Long: `The key commands speak to the control listener of a running gateway (turnbuckle serve --admin-listen), where
everything about keys is kept. A key is shown once, when it is made; from then on it goes by its id, the hash that it
is stored under.`,
		Example: `  export TURNBUCKLE_ADMIN_SECRET_FILE=secret
  turnbuckle key create --api shop --rate 10 --per 1s --quota 10000 --quota-renewal 30d --alias ada
  turnbuckle key list
  turnbuckle key show --hashed ID
  turnbuckle key delete --hashed ID`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c := addConnectionFlags(cmd, e)
	cmd.AddCommand(createCommand(c), listCommand(c), showCommand(c), deleteCommand(c))
	return cmd
}

// made is the reply to the making of a key.
type made struct {
	Key        string `json:"key"`
	KeyHash    string `json:"key_hash"`
	HMACSecret string `json:"hmac_string"`
	Message    string `json:"message"`
}

func createCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key",
		Long: `Create makes a key for the APIs and with the limits that the flags say, and prints it. It is not shown again:
the gateway keeps its hash. A key for no API by name, by --api or by a policy, is refused, because it would admit to all.`,
		Example: `  turnbuckle key create --api shop
  turnbuckle key create --api shop,stock --rate 100 --per 1m --alias ada --expires 90d
  turnbuckle key create --org acme --policy gold --quiet
  turnbuckle key create --api shop --user ada --password-file password
  turnbuckle key create --api shop --hmac --json
  turnbuckle key create --from session.json`,
		Args: cobra.NoArgs,
	}
	f := addSessionFlags(cmd, c.e)
	asJSON := cmd.Flags().Bool("json", false, "print the reply of the control API")
	quiet := cmd.Flags().BoolP("quiet", "q", false, "print the key and nothing else")
	cmd.MarkFlagsMutuallyExclusive("json", "quiet")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		session, err := f.session(cmd, time.Now())
		if err != nil {
			return err
		}
		cl, err := c.open()
		if err != nil {
			return err
		}
		path, query := "/tyk/keys", url.Values{}
		switch {
		case f.user != "":
			path = keyPath(f.user)
			query.Set("username", "true")
		case f.token != "":
			path = keyPath(f.token)
		}
		var reply made
		data, err := cl.call(cmd.Context(), "POST", path, query, session, &reply)
		if err != nil {
			return err
		}
		switch {
		case *asJSON:
			_, err = c.e.Stdout.Write(data)
		case *quiet:
			_, err = fmt.Fprintln(c.e.Stdout, reply.Key)
		default:
			rows := [][2]string{{"key", reply.Key}, {"id", reply.KeyHash}, {"hmac secret", reply.HMACSecret}}
			if err = fields(c.e.Stdout, rows); err == nil {
				fmt.Fprintln(c.e.Stderr, "The key is not shown again.")
			}
		}
		if reply.Message != "" {
			fmt.Fprintln(c.e.Stderr, "turnbuckle: note: "+reply.Message)
		}
		return err
	}
	return cmd
}

// named are the flags that say what kind of name a key is named by.
type named struct {
	hashed, user bool
	org          string
}

func addNameFlags(cmd *cobra.Command) *named {
	n := &named{}
	cmd.Flags().BoolVar(&n.hashed, "hashed", false, "KEY is an id, as key list prints it")
	cmd.Flags().BoolVar(&n.user, "user", false, "KEY is the name of a user of basic authentication; needs --org if there is one")
	cmd.Flags().StringVar(&n.org, "org", "", "`ORGANISATION` of the key")
	cmd.MarkFlagsMutuallyExclusive("hashed", "user")
	return n
}

func (n *named) query() url.Values {
	q := url.Values{}
	if n.hashed {
		q.Set("hashed", "true")
	}
	if n.user {
		q.Set("username", "true")
	}
	if n.org != "" {
		q.Set("org_id", n.org)
	}
	return q
}

// unknown adds advice to the error of a key that was not found.
func (n *named) unknown(err error) error {
	if text := err.Error(); !n.hashed && (text == "Key not found" || text == "There is no such key found") {
		return hint.New(err, "ids, as key list prints them, take --hashed; names of users --user and --org")
	}
	return err
}

func showCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show KEY",
		Short: "Show a key: what it may use, and what is left of its quota",
		Example: `  turnbuckle key show acme0123456789abcdef0123456789abcdef
  turnbuckle key show --hashed ID --json
  turnbuckle key show --user --org acme ada`,
		Args: cobra.ExactArgs(1),
	}
	n := addNameFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print the session as the control API has it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		var s shownSession
		data, err := cl.call(cmd.Context(), "GET", keyPath(args[0]), n.query(), nil, &s)
		if err != nil {
			return n.unknown(err)
		}
		if *asJSON {
			_, err = c.e.Stdout.Write(data)
			return err
		}
		return fields(c.e.Stdout, s.rows())
	}
	return cmd
}

func deleteCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete KEY...",
		Short: "Delete keys, and what they have used of their quotas",
		Example: `  turnbuckle key delete acme0123456789abcdef0123456789abcdef
  turnbuckle key delete --hashed ID ID`,
		Args: cobra.MinimumNArgs(1),
	}
	n := addNameFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		var failed []error
		for _, key := range args {
			if _, err := cl.call(cmd.Context(), "DELETE", keyPath(key), n.query(), nil, nil); err != nil {
				failed = append(failed, n.unknown(err))
				continue
			}
			fmt.Fprintln(c.e.Stdout, "deleted "+key)
		}
		return errors.Join(failed...)
	}
	return cmd
}

// page is the reply to a listing.
type page struct {
	Keys []summary `json:"keys"`
	Next string    `json:"next,omitempty"`
}

func listCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys by their ids",
		Example: `  turnbuckle key list
  turnbuckle key list --api shop --all --json | jq -r '.keys[].id'`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	api := flags.String("api", "", "only keys that name this `API`")
	org := flags.String("org", "", "only keys of this `ORGANISATION`")
	filter := flags.String("filter", "", "only ids that begin with this `PREFIX`")
	cursor := flags.String("cursor", "", "begin at this `CURSOR`, as the page before printed it")
	limit := flags.Int("limit", 100, "about how many")
	all := flags.Bool("all", false, "all of them, page by page")
	asJSON := flags.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		query := url.Values{"limit": {strconv.Itoa(*limit)}}
		for name, value := range map[string]string{"api_id": *api, "org_id": *org, "filter": *filter, "cursor": *cursor} {
			if value != "" {
				query.Set(name, value)
			}
		}
		list := page{Keys: []summary{}}
		for {
			var next page
			if _, err := cl.call(cmd.Context(), "GET", "/v1/keys", query, nil, &next); err != nil {
				return err
			}
			list.Keys, list.Next = append(list.Keys, next.Keys...), next.Next
			if next.Next == "" || !*all && len(list.Keys) > 0 {
				break
			}
			query.Set("cursor", next.Next)
		}
		return c.print(list, *asJSON)
	}
	return cmd
}

// fields writes a name and a value a line; those without a value are left out.
func fields(to io.Writer, rows [][2]string) error {
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		if r[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", r[0], r[1])
		}
	}
	return w.Flush()
}
