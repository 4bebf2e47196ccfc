namespace Ingot.Conformance;

/// <summary>Where the programs under test and their peers are. scripts/test makes all of them; a missing one is a failure, not a skip.</summary>
internal static class Programs
{
    internal static string Root { get; } = FindRoot();

    /// <summary>The published binary: INGOT, or artifacts/bin/ingot.</summary>
    internal static string Ingot { get; } = Environment.GetEnvironmentVariable("INGOT") ?? Path.Combine(Root, "artifacts/bin/ingot");

    internal static string RunGuest { get; } = Path.Combine(Root, "tests/peers/run-guest");

    internal static string RunUml { get; } = Path.Combine(Root, "tests/peers/run-uml");

    private static string Cache { get; } = Environment.GetEnvironmentVariable("INGOT_CACHE") ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/ingot");

    internal static string Scenario(string name) => Path.Combine(Root, "tests/peers/scenarios", name);

    /// <summary>A program of QEMU 10: "qemu-img".</summary>
    internal static string Qemu10(string name) => Path.Combine(Cache, "bin", name + "-10");

    private static string FindRoot()
    {
        for (DirectoryInfo? directory = new(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "ingot.slnx")))
            {
                return directory.FullName;
            }
        }

        throw new InvalidOperationException("The tests must run from within the repository.");
    }
}
