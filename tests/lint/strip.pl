#!/usr/bin/perl
# Prints a C file line for line, as CODE (comments and the contents of
# strings blanked) or as STRINGS (nothing but the contents of strings).
# Include lines keep their names in neither.
use strict;
use warnings;

my ($mode, $file) = @ARGV;
open(my $in, '<', $file) or die "$file: $!\n";
local $/;
my $text = <$in>;

sub blank {
	my ($part) = @_;
	$part =~ s/[^\n]/ /g;
	return $part;
}

my $out = '';
while ($text =~ m{
		\G(?: (?<comment> /\*.*?\*/ | //[^\n]* )
		  | (?<string> "(?:\\.|[^"\\\n])*" )
		  | (?<char> '(?:\\.|[^'\\\n])*' )
		  | (?<code> [^/"']+ | . ) )
	}gsx) {
	my ($comment, $string, $char, $code) = @+{qw(comment string char code)};

	if (defined $comment) {
		$out .= blank($comment);
	} elsif (defined $string) {
		my $include = $out =~ /^\s*#\s*include[^\n]*\z/m;

		$out .= $mode eq 'STRINGS' && !$include
			? ' ' . substr($string, 1, -1) . ' '
			: '"' . blank(substr($string, 1, -1)) . '"';
	} elsif (defined $char) {
		$out .= $mode eq 'STRINGS' ? blank($char) : "'" .
			blank(substr($char, 1, -1)) . "'";
	} else {
		$out .= $mode eq 'STRINGS' ? blank($code) : $code;
	}
}
print $out;
