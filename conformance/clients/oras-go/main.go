// Drives a registry through oras-go: an artifact with a file, a signature that refers to it, tags, referrers, pulls by
// tag and by digest, a copy to another repository, deletes.
//
// Usage: oras-go exercise HOST REPOSITORY OTHER-REPOSITORY
//
// The other commands log in and out, push and pull, with credentials in a file as oras keeps them.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	artifactType  = "application/vnd.example.thing"
	signatureType = "application/vnd.example.signature"
	fileType      = "text/plain"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 4 && args[0] == "exercise":
		return run(ctx, args[1], args[2], args[3])
	case len(args) == 5 && args[0] == "login":
		return login(ctx, args[1], args[2], auth.Credential{Username: args[3], Password: args[4]})
	case len(args) == 3 && args[0] == "logout":
		return logout(ctx, args[1], args[2])
	case len(args) == 4 && (args[0] == "push" || args[0] == "pull"):
		return transfer(ctx, args[0], args[1], args[2], args[3])
	}
	return errors.New("usage: oras-go exercise HOST REPOSITORY OTHER-REPOSITORY | login CONFIG HOST USER PASSWORD | " +
		"logout CONFIG HOST | push CONFIG HOST REPOSITORY | pull CONFIG HOST REPOSITORY")
}

func run(ctx context.Context, host, name, other string) error {
	repo, err := open(host, name)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "oras-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	artifact, err := push(ctx, repo, folder)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := read(ctx, repo, artifact, folder); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	signature, err := sign(ctx, repo, artifact)
	if err != nil {
		return fmt.Errorf("referrers: %w", err)
	}
	target, err := open(host, other)
	if err != nil {
		return err
	}
	if err := copyAll(ctx, repo, target, artifact, signature); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := remove(ctx, repo, signature, artifact); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

func open(host, name string) (*remote.Repository, error) {
	repo, err := remote.NewRepository(host + "/" + name)
	if err != nil {
		return nil, err
	}
	repo.PlainHTTP = true
	return repo, nil
}

// push packs a file as an artifact of image-spec 1.1 and pushes it under a tag.
func push(ctx context.Context, repo *remote.Repository, folder string) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if err := os.WriteFile(folder+"/hello.txt", []byte("hello, "+repo.Reference.Repository), 0o600); err != nil {
		return none, err
	}
	store, err := file.New(folder)
	if err != nil {
		return none, err
	}
	defer store.Close()
	layer, err := store.Add(ctx, "hello.txt", fileType, "")
	if err != nil {
		return none, err
	}
	options := oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}}
	artifact, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, artifactType, options)
	if err != nil {
		return none, err
	}
	if err := store.Tag(ctx, artifact, "v1"); err != nil {
		return none, err
	}
	if _, err := oras.Copy(ctx, store, "v1", repo, "v1", oras.DefaultCopyOptions); err != nil {
		return none, err
	}
	_, err = oras.Tag(ctx, repo, "v1", "v2")
	return artifact, err
}

// read lists, resolves and pulls, the blob also through Seek, which needs ranges.
func read(ctx context.Context, repo *remote.Repository, artifact ocispec.Descriptor, folder string) error {
	var tags []string
	err := repo.Tags(ctx, "", func(page []string) error {
		tags = append(tags, page...)
		return nil
	})
	if err != nil || fmt.Sprint(tags) != "[v1 v2]" {
		return fmt.Errorf("the tags are %v: %w", tags, err)
	}
	for _, reference := range []string{"v1", artifact.Digest.String()} {
		resolved, err := repo.Resolve(ctx, reference)
		if err != nil || resolved.Digest != artifact.Digest {
			return fmt.Errorf("%s resolves to %v: %w", reference, resolved, err)
		}
		store, err := file.New(folder + "/" + resolved.Digest.Encoded() + reference[:2])
		if err != nil {
			return err
		}
		if _, err := oras.Copy(ctx, repo, reference, store, "", oras.DefaultCopyOptions); err != nil {
			return err
		}
		if err := store.Close(); err != nil {
			return err
		}
	}
	children, err := content.Successors(ctx, repo, artifact)
	if err != nil {
		return err
	}
	return seek(ctx, repo, children[len(children)-1])
}

func seek(ctx context.Context, repo *remote.Repository, blob ocispec.Descriptor) error {
	whole, err := content.FetchAll(ctx, repo, blob)
	if err != nil {
		return err
	}
	reader, err := repo.Blobs().Fetch(ctx, blob)
	if err != nil {
		return err
	}
	defer reader.Close()
	seeker, ok := reader.(io.ReadSeeker)
	if !ok {
		return errors.New("the registry offers no ranges")
	}
	if _, err := seeker.Seek(3, io.SeekStart); err != nil {
		return err
	}
	rest, err := io.ReadAll(seeker)
	if err != nil || !bytes.Equal(rest, whole[3:]) {
		return fmt.Errorf("after Seek(3): %q: %w", rest, err)
	}
	return nil
}

// sign pushes a manifest that refers to the artifact and finds it through the referrers API.
func sign(ctx context.Context, repo *remote.Repository, artifact ocispec.Descriptor) (ocispec.Descriptor, error) {
	if err := repo.SetReferrersCapability(true); err != nil {
		return ocispec.Descriptor{}, err
	}
	options := oras.PackManifestOptions{Subject: &artifact}
	signature, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, signatureType, options)
	if err != nil {
		return signature, err
	}
	for _, filter := range []string{"", signatureType} {
		var found []ocispec.Descriptor
		err := repo.Referrers(ctx, artifact, filter, func(page []ocispec.Descriptor) error {
			found = append(found, page...)
			return nil
		})
		if err != nil || len(found) != 1 || found[0].Digest != signature.Digest {
			return signature, fmt.Errorf("filtered by %q the referrers are %v: %w", filter, found, err)
		}
	}
	return signature, nil
}

// copyAll copies the artifact with what refers to it; blobs are mounted.
func copyAll(ctx context.Context, repo, target *remote.Repository, artifact, signature ocispec.Descriptor) error {
	options := oras.DefaultExtendedCopyOptions
	options.MountFrom = func(context.Context, ocispec.Descriptor) ([]string, error) {
		return []string{repo.Reference.Repository}, nil
	}
	if _, err := oras.ExtendedCopy(ctx, repo, "v1", target, "v1", options); err != nil {
		return err
	}
	for _, wanted := range []ocispec.Descriptor{artifact, signature} {
		if _, err := content.FetchAll(ctx, target, wanted); err != nil {
			return err
		}
	}
	return nil
}

func remove(ctx context.Context, repo *remote.Repository, manifests ...ocispec.Descriptor) error {
	for _, manifest := range manifests {
		if err := repo.Delete(ctx, manifest); err != nil {
			return err
		}
		if _, err := repo.Resolve(ctx, manifest.Digest.String()); !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("%s is there after it was deleted: %w", manifest.Digest, err)
		}
	}
	return nil
}
