package main

import (
	"context"
	"strings"
)

// runCompletion prints what a shell needs to complete the commands.
func runCompletion(_ context.Context, t *terminal, args []string) error {
	f := flags(t, "completion", "bash|zsh|fish")
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	shell := ""
	if len(rest) == 1 {
		shell = rest[0]
	}
	switch shell {
	case "bash":
		t.printf("_pneudaq() { local w=${COMP_WORDS[COMP_CWORD]}\n"+
			"  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W '%s' -- \"$w\"))\n"+
			"  elif [ \"${COMP_WORDS[1]}\" = runs ] && [ \"$COMP_CWORD\" = 2 ]; then COMPREPLY=($(compgen -W 'list show start stop audit export evaluate' -- \"$w\"))\n"+
			"  else COMPREPLY=($(compgen -f -- \"$w\")); fi; }\ncomplete -o filenames -F _pneudaq pneudaq\n", strings.Join(names, " "))
	case "zsh":
		t.printf("#compdef pneudaq\n_pneudaq() { if (( CURRENT == 2 )); then compadd %s; elif [[ $words[2] == runs && CURRENT == 3 ]]; then compadd list show start stop audit export evaluate; else _files; fi }\ncompdef _pneudaq pneudaq\n", strings.Join(names, " "))
	case "fish":
		for _, v := range verbs() {
			t.printf("complete -c pneudaq -n __fish_use_subcommand -a %s -d '%s'\n", v.name, strings.ReplaceAll(v.about, "'", ""))
		}
		t.printf("complete -c pneudaq -n '__fish_seen_subcommand_from runs' -a 'list show start stop audit export evaluate'\n")
	default:
		return fails(exitUsage, "name your shell: bash, zsh or fish")
	}
	return nil
}
