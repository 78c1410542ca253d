package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/proto"
)

func protoCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proto",
		Short:   "The protocols that plugin servers speak",
		Example: "  turnbuckle proto export ./proto",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "export DIR",
		Short: "Write the .proto files and their specification, for authors of plugins in other languages",
		Long: `Export writes PROTOCOL.md, CONFORMANCE.md, plugin/v1/*.proto (the native protocol, which import each other from DIR) and
coprocess/*.proto (Tyk's protocol, which import each other from their own folder, so that the generated modules have
the names that servers written for Tyk use).`,
		Example: `  turnbuckle proto export ./proto
  python3 -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/plugin/v1/*.proto
  python3 -m grpc_tools.protoc -I proto/coprocess --python_out=. --grpc_python_out=. proto/coprocess/*.proto`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return exportProto(e, args[0]) },
	})
	return cmd
}

func exportProto(e *env, dir string) error {
	return fs.WalkDir(proto.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			return os.MkdirAll(path, 0o755)
		}
		data, err := proto.Files.ReadFile(name)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(data, []byte(`import "coprocess/`), []byte(`import "`)) // they lie flat in a server for Tyk
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		_, err = fmt.Fprintln(e.stdout, path)
		return err
	})
}
