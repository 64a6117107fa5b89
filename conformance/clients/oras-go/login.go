package main

import (
	"context"
	"fmt"
	"os"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

func openStore(config string) (*credentials.DynamicStore, error) {
	return credentials.NewStore(config, credentials.StoreOptions{AllowPlaintextPut: true})
}

// login checks credentials with the registry and keeps them.
func login(ctx context.Context, config, host string, credential auth.Credential) error {
	store, err := openStore(config)
	if err != nil {
		return err
	}
	registry, err := remote.NewRegistry(host)
	if err != nil {
		return err
	}
	registry.PlainHTTP = true
	return credentials.Login(ctx, store, registry, credential)
}

func logout(ctx context.Context, config, host string) error {
	store, err := openStore(config)
	if err != nil {
		return err
	}
	return credentials.Logout(ctx, store, host)
}

// transfer pushes an artifact with a file, or pulls it, with the credentials that were kept.
func transfer(ctx context.Context, verb, config, host, name string) error {
	store, err := openStore(config)
	if err != nil {
		return err
	}
	repo, err := open(host, name)
	if err != nil {
		return err
	}
	repo.Client = &auth.Client{
		Client:     retry.DefaultClient,
		Cache:      auth.NewCache(),
		Credential: credentials.Credential(store),
	}
	if verb == "pull" {
		_, err = oras.Copy(ctx, repo, "v1", memory.New(), "v1", oras.DefaultCopyOptions)
		return err
	}
	folder, err := os.MkdirTemp("", "oras-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if _, err := push(ctx, repo, folder); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return nil
}
