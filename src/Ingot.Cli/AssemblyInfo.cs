using System.Runtime.CompilerServices;
using System.Runtime.Versioning;

[assembly: InternalsVisibleTo("Ingot.Tests")]
[assembly: SupportedOSPlatform("linux")]
