// Command upstream is a registry with known content, for a cache to pull from: go-containerregistry's, behind what registries of
// the field put before it.
//
// It prints one line of JSON, what there is. Then it reads lines KIND LOGFILE, and answers each with the URL of a new address that
// serves the same content and writes each request into LOGFILE as a line of JSON. It ends when its input does.
//
//	open      asks for nothing
//	hub       wants a token, which anybody gets, and sends blobs on to a storage that takes no Authorization, as Docker Hub does
//	metadata  the same, but sends to the address where a cloud gives its machines their secrets
//	private   gives tokens to whom it knows
//	basic     wants Basic
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
)

const (
	user     = "upstream"
	password = "s3cr3t-upstream"
)

func main() {
	log.SetOutput(io.Discard) // go-containerregistry has an opinion of what tests do on purpose

	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	blobs := registry.NewInMemoryBlobHandler()
	c := content{blobs, registry.New(registry.WithBlobHandler(blobs), registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))}

	at, err := serve(http.HandlerFunc(c.ServeHTTP), &journal{out: io.Discard})
	if err != nil {
		return err
	}

	images, err := seed(strings.TrimPrefix(at, "http://"))
	if err != nil {
		return err
	}

	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]any{"images": images, "user": user, "password": password}); err != nil {
		return err
	}

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		kind, file, _ := strings.Cut(lines.Text(), " ")

		url, err := open(c, kind, file)
		if err != nil {
			return err
		}

		fmt.Println(url)
	}

	return lines.Err()
}

// open starts a front of a kind, and gives its URL.
func open(c content, kind, file string) (string, error) {
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}

	j := &journal{out: out}

	switch kind {
	case "open":
		return serve(c, j)
	case "hub":
		storage, err := serve(storage{c}, j)
		if err != nil {
			return "", err
		}

		return serve(tokens{next: redirects{c, storage}}, j)
	case "metadata":
		return serve(tokens{next: redirects{c, "http://169.254.169.254"}}, j)
	case "private":
		return serve(tokens{next: c, known: true}, j)
	case "basic":
		return serve(basic{c}, j)
	default:
		return "", errors.New("no kind " + kind)
	}
}

// serve starts a server on an address of its own, and gives its URL.
func serve(h http.Handler, j *journal) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}

	go http.Serve(listener, j.writing(h)) //nolint:errcheck // ends with the process

	return "http://" + listener.Addr().String(), nil
}
