using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("Ingot.Tests")]
