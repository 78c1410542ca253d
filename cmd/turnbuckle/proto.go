package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/proto"
)

func protoCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proto",
		Short: "The protocols that plugin servers speak",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "export DIR",
		Short: "Write the .proto files and PROTOCOL.md, for authors of plugins in other languages",
		Example: `  turnbuckle proto export ./proto
  python3 -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/coprocess/*.proto`,
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
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		_, err = fmt.Fprintln(e.stdout, path)
		return err
	})
}
