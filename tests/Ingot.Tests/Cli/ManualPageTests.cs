using System.Text.RegularExpressions;
using Ingot.Cli;
using Ingot.Drivers;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>The manual pages explain every option that the tools take.</summary>
public sealed class ManualPageTests
{
    private static readonly string[] CommonOptions = ["help", "format", "image-opts", "untrusted", "force-share", "object", "output", "progress", "quiet"];

    [Fact]
    public void Options_of_image_commands_are_explained()
    {
        string page = Read("ingot-img.1");
        string general = page[..page.IndexOf(".SH COMMANDS", StringComparison.Ordinal)];
        foreach (Command command in ImageTool.Commands)
        {
            string section = Section(page, command.Name);
            foreach (Option option in command.AllOptions)
            {
                string where = CommonOptions.Contains(option.Long) ? general + section : section;
                Assert.True(option == Command.Help || Names(where, $"--{option.Long}"), $"{command.Name} --{option.Long}");
                Assert.True(option.Short == '\0' || option == Command.Help || Names(where, $"-{option.Short}"), $"{command.Name} -{option.Short}");
            }
        }
    }

    [Fact]
    public void Creation_options_are_explained()
    {
        string page = Read("ingot-img.1");
        page = page[page.IndexOf(".SH CREATION OPTIONS", StringComparison.Ordinal)..];
        foreach ((string name, _) in DriverTable.All.SelectMany(driver => driver.CreateOptions).Where(o => o.Name != "encrypt.keyslot"))
        {
            Assert.True(Names(page, name), name);
        }
    }

    [Fact]
    public void Commands_and_options_of_io_are_explained()
    {
        string page = Read("ingot-io.1");
        string general = page[page.IndexOf(".SH COMMANDS", StringComparison.Ordinal)..page.IndexOf(".SS Transfers", StringComparison.Ordinal)];
        Assert.All(IoTool.Command.Options, option => Assert.True(Names(page, $"--{option.Long}"), option.Long));
        foreach (IoCommand command in IoCommandTable.All)
        {
            Assert.True(Names(page, command.Name), command.Name);
            Assert.True(command.Short is null || page.Contains($"\\fB{command.Name}\\fR (\\fB{command.Short}\\fR)", StringComparison.Ordinal) || command.Short == "?", command.Name);
            string item = page.Split(".TP\n").FirstOrDefault(part => part.Split('\n')[0].Contains($"\\fB{command.Name}\\fR", StringComparison.Ordinal)) ?? "";
            foreach (char letter in command.Letters.Where(char.IsAsciiLetter))
            {
                Assert.True(Names(general, $"-{letter}") || Regex.IsMatch(item, $@"\\fB-[a-zA-Z]*{letter}"), $"{command.Name} -{letter}");
            }
        }
    }

    private static bool Names(string page, string name) => Regex.IsMatch(Regex.Replace(page, @"\\f[BIR]", ""), $@"(?<![\w-]){Regex.Escape(name)}(?![\w-])");

    private static string Section(string page, string name)
    {
        int start = page.IndexOf($".SS {name}\n", StringComparison.Ordinal);
        Assert.True(start >= 0, $"no section '{name}'");
        int end = page.IndexOf("\n.S", start + 1, StringComparison.Ordinal);
        return page[start..end];
    }

    private static string Read(string page)
        => File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "man", page)).Replace("\\-", "-", StringComparison.Ordinal);
}
