import java.io.FileInputStream;
import java.io.PrintStream;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.PDFAValidator;
import org.verapdf.pdfa.flavours.PDFAFlavour;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;

/**
 * Holds every file that it is given against PDF/A-3a and PDF/UA-1, by veraPDF. Prints a line for each rule that a file
 * fails, once for each place: the file, the rule, where, and what it says, with tabs between them.
 */
public class PDFA {
  public static void main(String[] files) throws Exception {
    PrintStream out = new PrintStream(System.out, true, "UTF-8");
    VeraGreenfieldFoundryProvider.initialise();
    for (String file : files) {
      for (PDFAFlavour flavour : new PDFAFlavour[] {PDFAFlavour.PDFA_3_A, PDFAFlavour.PDFUA_1}) {
        try (FileInputStream in = new FileInputStream(file);
            PDFAParser parser = Foundries.defaultInstance().createParser(in, flavour);
            PDFAValidator validator = Foundries.defaultInstance().createValidator(flavour, false)) {
          ValidationResult result = validator.validate(parser);
          for (TestAssertion a : result.getTestAssertions()) {
            if (a.getStatus() == TestAssertion.Status.FAILED) {
              out.println(String.join("\t", file, flavour.getId() + " " + a.getRuleId().getClause() + "-"
                  + a.getRuleId().getTestNumber(), a.getLocation().getContext(), a.getMessage().replaceAll("\\s+", " ")));
            }
          }
        }
      }
      out.println(String.join("\t", file, "validated"));
    }
  }
}
